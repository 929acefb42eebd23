#!/usr/bin/python
"""Ansible module: compare and write directories, files and links in one task."""

from __future__ import annotations

DOCUMENTATION = r"""
module: files
short_description: Compare and write directories, files and links in one task
description:
  - Makes a host's directories, files and links what the list says, in its order. Each file is written under another
    name and renamed, so that a reader never sees a part of it.
  - One task in place of many M(ansible.builtin.file) and M(ansible.builtin.template) tasks costs one round trip when
    there is nothing to do. Render templates with P(ansible.builtin.template#lookup).
options:
  files:
    description: What should be there.
    type: list
    elements: dict
    required: true
    suboptions:
      dest:
        description: Absolute path on the host.
        type: path
        required: true
      content:
        description: The text of a file. Shown by C(--diff).
        type: str
      secret:
        description: The text of a file that holds a secret. Never shown.
        type: str
      block:
        description:
          - Lines at the top of a file of others, between two lines that mark them. The rest of the file stays, and so
            do its owner and mode.
        type: str
      link:
        description: Make a symbolic link to this target.
        type: str
      state:
        description: V(absent) removes a file, a link or an empty directory.
        type: str
        choices: [file, directory, link, absent]
      owner:
        description: Name of the owner.
        type: str
        default: root
      group:
        description: Name of the group.
        type: str
        default: root
      mode:
        description: Octal mode. V(0644) for files and V(0755) for directories when left out.
        type: str
author:
  - Celery on Hosts
"""

EXAMPLES = r"""
- name: Configure Redis
  celery_on_hosts.platform.files:
    files:
      - dest: /etc/redis/redis.conf
        content: "{{ lookup('ansible.builtin.template', 'redis.conf.j2') }}"
        group: redis
        mode: "0640"
      - dest: /etc/redis/users.acl
        secret: "{{ lookup('ansible.builtin.template', 'users.acl.j2') }}"
        group: redis
        mode: "0640"
"""

RETURN = r"""
files:
  description: The paths that changed (in check mode, that would change).
  returned: always
  type: list
  elements: str
"""

from ansible_collections.celery_on_hosts.platform.plugins.module_utils.files import (
    ARGUMENT_SPEC,
    FilesError,
    SilentModule,
    bring,
)


def main() -> None:
    """Run the module."""
    module = SilentModule(
        argument_spec={
            "files": {"type": "list", "elements": "dict", "required": True, "options": ARGUMENT_SPEC},
        },
        supports_check_mode=True,
    )
    try:
        changed, diffs = bring(module.params["files"], module.check_mode)
    except FilesError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(changed), files=changed, diff=diffs)


if __name__ == "__main__":
    main()
