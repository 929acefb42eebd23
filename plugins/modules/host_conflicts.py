#!/usr/bin/python
# SPDX-License-Identifier: MIT
"""Ansible module: fail where a deployment would overwrite or collide with what others have on the host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_conflicts
short_description: Fail where a deployment would overwrite or collide with what others have on the host
description:
  - Looks for configuration and data of the services that the host is to run which neither the platform nor the
    untouched package made, and for files, accounts, supervisord programs and ports of the platform's names that belong
    to somebody else; and for disks and memory without room for services that are not there yet. Fails with all of
    them, each with what a deployment would do to it and what to do.
  - Warns where services are not there yet, and nothing keeps the host's clock right.
  - A service whose unit M(celery_on_hosts.platform.service_applied) has configured is the platform's, and so is an
    application of which a release is unpacked; of these only ports and supervisord programs are looked at.
  - Changes nothing. Reads files and C(/proc), asks C(dpkg-query) where a service is not the platform's yet, a Redis
    that wants no password for the number of its keys, PostgreSQL for roles and databases, and a RabbitMQ of others for
    its users, virtual hosts and features.
author: Celery on Hosts
options:
  host:
    description: The host's name, as messages say it.
    type: str
    required: true
  services:
    description: The services that the host is to run.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The service.
        type: str
        required: true
        choices: [rabbitmq, redis, cache, postgresql, nginx, supervisor, celery, flower]
      listen:
        description: Where the service listens. The first port is the one that its clients use.
        type: list
        elements: dict
        default: []
        suboptions:
          port:
            description: The TCP port.
            type: int
            required: true
          addresses:
            description: The addresses. V(0.0.0.0) and V(::) stand for all.
            type: list
            elements: str
            required: true
      version:
        description: Which PostgreSQL, by its major version.
        type: str
      take_over:
        description: Whether the service may replace that of others, where their data can be kept.
        type: bool
        default: false
      consumer_timeout:
        description: Seconds that a delivery of RabbitMQ has to be allowed to stay unacknowledged.
        type: int
      names:
        description: The names under which nginx is to serve the application; any name when empty.
        type: list
        elements: str
        default: []
      programs:
        description: The names of the programs that supervisord is to run.
        type: list
        elements: str
        default: []
      root:
        description: The folder of the application's, or Flower's, releases.
        type: path
      home:
        description: The home of the account that has the service's name.
        type: path
      files:
        description: The files and folders of the application, or of Flower.
        type: list
        elements: path
        default: []
  root:
    description: The root folder of the host.
    type: path
    default: /
"""

EXAMPLES = r"""
- name: Look for what others have on the host
  celery_on_hosts.platform.host_conflicts:
    host: "{{ inventory_hostname }}"
    services:
      - name: redis
        listen: [{port: 6379, addresses: [127.0.0.1]}]
"""

RETURN = r"""
beside:
  description: The services in which the platform has, or gets, its place beside others, whose configuration stays.
  returned: always
  type: list
  elements: str
  sample: [nginx]
timeout_by_policy:
  description: Whether the host's RabbitMQ lets a policy say how long a delivery may stay unacknowledged.
  returned: always
  type: bool
conflicts:
  description: What is in the way.
  returned: always
  type: list
  elements: dict
  sample:
    - service: redis
      found: 1001 keys in database 0 in /var/lib/redis/dump.rdb
      means: the platform's Redis would start empty
      advice: Back up /var/lib/redis/dump.rdb
"""

from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.check import (
    SERVICES,
    beside,
    check,
    is_claimed,
)
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.clock import check_clock
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.conflict import render
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.host import Host
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.rabbitmq import (
    timeout_by_policy,
    version_of,
)


def main() -> None:
    """Run the module."""
    listen = {
        "port": {"type": "int", "required": True},
        "addresses": {"type": "list", "elements": "str", "required": True},
    }
    texts = {"type": "list", "elements": "str", "default": []}
    service: dict[str, Any] = {
        "name": {"type": "str", "required": True, "choices": list(SERVICES)},
        "listen": {"type": "list", "elements": "dict", "default": [], "options": listen},
        "version": {"type": "str"},
        "take_over": {"type": "bool", "default": False},
        "consumer_timeout": {"type": "int"},
        "names": texts,
        "programs": texts,
        "root": {"type": "path"},
        "home": {"type": "path"},
        "files": texts | {"elements": "path"},
    }
    module = AnsibleModule(
        argument_spec={
            "host": {"type": "str", "required": True},
            "services": {"type": "list", "elements": "dict", "required": True, "options": service},
            "root": {"type": "path", "default": "/"},
        },
        supports_check_mode=True,
    )
    host = Host(module.params["root"])
    if not all(is_claimed(host, service) for service in module.params["services"]):
        for warning in check_clock(host):
            module.warn(f"{module.params['host']}: {warning}")
    found = check(host, module.params["services"])
    conflicts = [asdict(conflict) for conflict in found]
    shared = beside(host, module.params["services"])
    if found:
        module.fail_json(msg=render(module.params["host"], found), conflicts=conflicts, beside=shared)
    by_policy = timeout_by_policy(version_of(host))
    module.exit_json(changed=False, conflicts=conflicts, beside=shared, timeout_by_policy=by_policy)


if __name__ == "__main__":
    main()
