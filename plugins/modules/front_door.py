#!/usr/bin/python
# SPDX-License-Identifier: MIT
"""Ansible module: prove that nginx of a host reaches what it passes on."""

from __future__ import annotations

DOCUMENTATION = r"""
module: front_door
short_description: Ask nginx for a page of the web side and of Flower, from each server behind it
description:
  - Asks nginx of the host for the pages that the role C(nginx) has written down, and fails when one does not work.
  - Where several servers answer for a page, each of them is asked through nginx, so that none hides behind the others.
options:
  wait:
    description: Seconds in which all pages have to work.
    type: float
    default: 0
  timeout:
    description: Seconds that connecting, and each answer, may take.
    type: float
    default: 10
  root:
    description: The root folder of the host.
    type: path
    default: /
author:
  - Celery on Hosts
"""

EXAMPLES = r"""
- name: Ask the front door
  celery_on_hosts.platform.front_door:
    wait: 60
"""

RETURN = r"""
checks:
  description: A check for each page and server, as C(celery-health --json) has them.
  returned: always
  type: list
  elements: dict
  sample: [{layer: front door, name: web, ok: true, severity: ok, detail: "http://127.0.0.1:80/ answers 200"}]
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_on_hosts.platform.plugins.module_utils import front_door
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.host import Host, text_of
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.names import FRONT_DOOR_FILE

INTERVAL_S = 1


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "wait": {"type": "float", "default": 0},
            "timeout": {"type": "float", "default": 10},
            "root": {"type": "path", "default": "/"},
        },
        supports_check_mode=True,
    )
    text = text_of(Host(module.params["root"]).path(FRONT_DOOR_FILE))
    deadline = time.monotonic() + module.params["wait"]
    while True:
        checks = front_door.ask(text, module.params["timeout"])
        failed = [check for check in checks if not check["ok"]]
        if not failed or time.monotonic() > deadline:
            break
        time.sleep(INTERVAL_S)
    if failed:
        lines = [f"front door {check['name']}: {check['detail']}\n    {check['advice']}" for check in failed]
        module.fail_json(msg="\n".join(lines), checks=checks)
    module.exit_json(changed=False, checks=checks)


if __name__ == "__main__":
    main()
