#!/usr/bin/python
# SPDX-License-Identifier: MIT
"""Ansible module: record which Debian packages an installation brings."""

from __future__ import annotations

DOCUMENTATION = r"""
module: packages_record
short_description: Record which Debian packages an installation brings
description:
  - Before an installation, notes what is installed. Afterwards, records what has come since and is one of O(packages),
    or is needed by one of them. M(celery_on_hosts.platform.removal) removes these packages, and no others.
  - The note of an installation that was cut off stays until the next one, or until the removal.
  - Never reports a change, because the record is no part of what an inventory describes.
options:
  packages:
    description: The packages that are asked for.
    type: list
    elements: str
    required: true
  state:
    description: Whether the installation is about to begin or has ended.
    type: str
    choices: [begins, ended]
    required: true
  path:
    description: The record.
    type: path
    default: /var/lib/celery-platform/packages.json
author:
  - Celery on Hosts
"""

EXAMPLES = r"""
- name: Note what is installed
  celery_on_hosts.platform.packages_record: {packages: [redis-server], state: begins}
"""

RETURN = r"""
installed:
  description: The packages that installations of the platform have brought.
  returned: always
  type: list
  elements: str
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.names import PACKAGES
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.packages import Record, query


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "packages": {"type": "list", "elements": "str", "required": True},
            "state": {"type": "str", "choices": ["begins", "ended"], "required": True},
            "path": {"type": "path", "default": PACKAGES},
        },
        supports_check_mode=True,
    )
    record = Record(Path(module.params["path"]))
    if not module.check_mode:
        try:
            if module.params["state"] == "begins":
                record.begin(module.params["packages"], query())
            else:
                record.end(query())
        except OSError as error:
            module.fail_json(msg=f"The record {record.path} cannot be written: {error.strerror}")
    module.exit_json(changed=False, installed=record.installed)


if __name__ == "__main__":
    main()
