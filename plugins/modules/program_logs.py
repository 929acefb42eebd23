#!/usr/bin/python
"""Ansible module: read the end of programs' logs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: program_logs
short_description: Return the last lines of the logs of supervisord's programs
options:
  programs:
    description: Supervisord's names of the programs.
    type: list
    elements: str
    required: true
  folder:
    description: The folder of the logs.
    type: path
    default: /var/log/celery
author:
  - Celery on Hosts
"""

EXAMPLES = r"""
- name: Read why the web side does not start
  celery_on_hosts.platform.program_logs:
    programs: [web]
"""

RETURN = r"""
text:
  description: The last lines of each log, below a line that names the log. Passwords of URLs are hidden.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_on_hosts.platform.plugins.module_utils import logs
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.names import LOGS


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "programs": {"type": "list", "elements": "str", "required": True},
            "folder": {"type": "path", "default": LOGS},
        },
        supports_check_mode=True,
    )
    module.exit_json(changed=False, text=logs.ends(module.params["programs"], module.params["folder"]))


if __name__ == "__main__":
    main()
