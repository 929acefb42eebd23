#!/usr/bin/python
"""Ansible module: make a group have exactly some members."""

from __future__ import annotations

DOCUMENTATION = r"""
module: group_members
short_description: Make a group have exactly these members
description:
  - Adds members to a group, and removes those that are not named. Their other groups stay as they are.
  - A member without an account gets one as a person has it, with a home and a login shell, and no password. An account
    that exists, in /etc/passwd or elsewhere, is not changed. No account is removed.
options:
  group:
    description: The group. It exists, except in check mode.
    type: str
    required: true
  members:
    description: The login names of all members.
    type: list
    elements: str
    required: true
author:
  - Celery on Hosts
"""

EXAMPLES = r"""
- name: Let ann and bob operate the platform
  celery_on_hosts.platform.group_members:
    group: celery-operators
    members: [ann, bob]
"""

RETURN = r"""
created:
  description: The accounts that were created (in check mode, that would be).
  returned: always
  type: list
  elements: str
added:
  description: The members that were added.
  returned: always
  type: list
  elements: str
removed:
  description: The members that were removed.
  returned: always
  type: list
  elements: str
"""

import grp
import pwd

from ansible.module_utils.basic import AnsibleModule


def exists(name: str) -> bool:
    """Return whether there is an account of this name."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "group": {"type": "str", "required": True},
            "members": {"type": "list", "elements": "str", "required": True},
        },
        supports_check_mode=True,
    )
    group, wanted = module.params["group"], module.params["members"]
    try:
        found = grp.getgrnam(group).gr_mem
    except KeyError:
        if not module.check_mode:
            module.fail_json(msg=f"there is no group {group}")
        found = []
    created = [name for name in wanted if not exists(name)]
    added = [name for name in wanted if name not in found]
    removed = [name for name in found if name not in wanted]
    commands = [["useradd", "--create-home", "--shell", "/bin/bash", name] for name in created]
    commands += [["gpasswd", "--add", name, group] for name in added]
    commands += [["gpasswd", "--delete", name, group] for name in removed]
    for command in commands if not module.check_mode else []:
        module.run_command(command, check_rc=True)
    before, after = (f"{group}: {', '.join(sorted(names)) or 'nobody'}\n" for names in (found, wanted))
    module.exit_json(
        changed=bool(commands),
        created=created,
        added=added,
        removed=removed,
        diff={"before": before, "after": after} if commands else {},
    )


if __name__ == "__main__":
    main()
