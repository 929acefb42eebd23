#!/usr/bin/python
# SPDX-License-Identifier: MIT
"""Ansible module: take the platform off a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: removal
short_description: Take the platform off a host, and leave what others own
description:
  - Removes what the platform has put on a host, and puts the services' files back as they were. In check mode, only
    says what would go.
  - What the platform has on the host is read from the host, not from the inventory. So parts that the inventory does
    not name any more go, too.
  - The programs of supervisord have to be stopped before, which M(celery_on_hosts.platform.supervisor_programs) does.
  - Services that keep data (RabbitMQ, Redis, PostgreSQL) are stopped and disabled; their configuration and data, and
    the folder of the application's data, stay for the next deployment.
  - A service runs on where others use it, as other supervisord programs, other nginx sites, other virtual hosts and
    other databases show.
options:
  data:
    description: Remove the data too, and the packages that the platform installed and that nobody else needs.
    type: bool
    default: false
author:
  - Celery on Hosts
"""

EXAMPLES = r"""
- name: Take the platform off the host
  celery_on_hosts.platform.removal:
    data: false
"""

RETURN = r"""
goes:
  description: What was removed (in check mode, what would be).
  returned: always
  type: list
  elements: str
  sample: ["nginx, stopped and disabled: /etc/nginx/conf.d/celery.conf"]
stays:
  description: What stays, and why.
  returned: always
  type: list
  elements: str
notes:
  description: What could not be done as it was meant.
  returned: always
  type: list
  elements: str
owners:
  description: The owners of programs that supervisord runs. Their programs are to be stopped before.
  returned: always
  type: list
  elements: str
  sample: [celery, flower]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.host import Host
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.packages import query
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.removal.application import programs
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.removal.plan import plan
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.removal.step import RemovalError

SOCKET = "/run/supervisor.sock"


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={"data": {"type": "bool", "default": False}},
        supports_check_mode=True,
    )
    host = Host()
    owners = sorted(programs(host), reverse=True) if host.path(SOCKET).exists() else []
    done: list[str] = []
    try:
        removal = plan(host, query(), module.params["data"])
        for step in removal.goes:
            if not module.check_mode:
                step.do()
            done.append(step.what)
    except (RemovalError, OSError) as error:
        module.fail_json(
            msg=f"{error}\nRemoved before that: {'; '.join(done) or 'nothing'}.\n"
            "What to do: correct what the message complains of, and run make remove again, which goes on from here.",
            goes=done,
        )
    module.exit_json(changed=bool(done), goes=done, stays=removal.stays, notes=removal.notes, owners=owners)


if __name__ == "__main__":
    main()
