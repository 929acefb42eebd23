#!/usr/bin/python
"""Ansible module: a service's directories, files and links, compared and written as one task."""

from __future__ import annotations

DOCUMENTATION = r"""
module: files
short_description: Directories, files and links, compared and written as one task
description:
  - Makes a host's directories, files and links be what the list says, in its order. Each file is written beside its
    place and renamed, so that a reader never sees half of one.
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

import grp  # noqa: E402
import os  # noqa: E402
import pwd  # noqa: E402
import stat  # noqa: E402
import tempfile  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402


class Entry:
    """One path: compares what is there with what should be, and brings it there."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.dest: str = spec["dest"]
        self.secret = spec["secret"] is not None
        text = spec["secret"] if self.secret else spec["content"]
        self.text: str = text or ""
        self.link: str | None = spec["link"]
        self.state: str = spec["state"] or ("link" if self.link else "file")
        if self.state == "file" and text is None:
            raise ValueError(f"{self.dest}: a file needs content or secret")
        self.mode = int(spec["mode"] or ("0755" if self.state == "directory" else "0644"), 8)
        self.owner: str = spec["owner"]
        self.group: str = spec["group"]

    def found(self) -> dict[str, Any]:
        """What is at the path now, in the words of the diff."""
        try:
            info = os.lstat(self.dest)
        except FileNotFoundError:
            return {"state": "absent"}
        if stat.S_ISLNK(info.st_mode):
            return {"state": "link", "target": os.readlink(self.dest)}
        said: dict[str, Any] = {
            "state": "directory" if stat.S_ISDIR(info.st_mode) else "file",
            "mode": f"{stat.S_IMODE(info.st_mode):04o}",
            "owner": _name(pwd.getpwuid, info.st_uid),
            "group": _name(grp.getgrgid, info.st_gid),
        }
        if said["state"] == "file" and self.state == "file":
            with open(self.dest, encoding="utf-8", errors="surrogateescape") as file:
                said["text"] = file.read()
        return said

    def wanted(self) -> dict[str, Any]:
        """What should be at the path, in the words of :meth:`found`."""
        if self.state == "absent":
            return {"state": "absent"}
        if self.state == "link":
            return {"state": "link", "target": self.link}
        said: dict[str, Any] = {
            "state": self.state,
            "mode": f"{self.mode:04o}",
            "owner": self.owner,
            "group": self.group,
        }
        if self.state == "file":
            said["text"] = self.text
        return said

    def write(self, found: dict[str, Any]) -> None:
        """Bring the path from ``found`` to what is wanted. Raises OSError, or KeyError for an unknown owner."""
        if found["state"] not in ("absent", self.state):
            os.rmdir(self.dest) if found["state"] == "directory" else os.unlink(self.dest)
        if self.state == "absent":
            return
        if self.state == "link":
            temporary = f"{self.dest}.new"
            if os.path.lexists(temporary):
                os.unlink(temporary)
            os.symlink(str(self.link), temporary)
            os.rename(temporary, self.dest)
            return
        uid, gid = pwd.getpwnam(self.owner).pw_uid, grp.getgrnam(self.group).gr_gid
        os.makedirs(os.path.dirname(self.dest), mode=0o755, exist_ok=True)
        if self.state == "directory":
            if found["state"] != "directory":
                os.mkdir(self.dest, 0o700)
            os.chown(self.dest, uid, gid)
            os.chmod(self.dest, self.mode)
            return
        handle, temporary = tempfile.mkstemp(dir=os.path.dirname(self.dest), prefix=".new-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(self.text)
                os.fchown(file.fileno(), uid, gid)
                os.fchmod(file.fileno(), self.mode)
                file.flush()
                os.fsync(file.fileno())
            os.rename(temporary, self.dest)
        except BaseException:
            os.unlink(temporary)
            raise

    def diff(self, found: dict[str, Any], wanted: dict[str, Any]) -> dict[str, str]:
        """Before and after, for ``--diff``; a secret's text is left out."""
        return {
            "before_header": self.dest,
            "after_header": self.dest,
            "before": self._words(found, wanted),
            "after": self._words(wanted, found),
        }

    def _words(self, said: dict[str, Any], other: dict[str, Any]) -> str:
        differing = [f"{key}: {value}\n" for key, value in said.items() if key != "text" and other.get(key) != value]
        text = said.get("text", "")
        if text != other.get("text", ""):
            differing.append(f"({'old' if said.get('state') == 'absent' else 'a'} secret)\n" if self.secret else text)
        return "".join(differing)


def _name(lookup: Any, number: int) -> str:
    try:
        return str(lookup(number)[0])
    except KeyError:
        return str(number)


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "files": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "dest": {"type": "path", "required": True},
                    "content": {"type": "str"},
                    "secret": {"type": "str", "no_log": True},
                    "link": {"type": "str"},
                    "state": {"type": "str", "choices": ["file", "directory", "link", "absent"]},
                    "owner": {"type": "str", "default": "root"},
                    "group": {"type": "str", "default": "root"},
                    "mode": {"type": "str"},
                },
            }
        },
        supports_check_mode=True,
    )
    changed: list[str] = []
    diffs: list[dict[str, str]] = []
    for spec in module.params["files"]:
        try:
            entry = Entry(spec)
            found, wanted = entry.found(), entry.wanted()
            if found == wanted:
                continue
            if not module.check_mode:
                entry.write(found)
        except (OSError, ValueError, KeyError) as error:
            module.fail_json(msg=f"{spec['dest']}: {error}", files=changed)
        changed.append(entry.dest)
        diffs.append(entry.diff(found, wanted))
    module.exit_json(changed=bool(changed), files=changed, diff=diffs)


if __name__ == "__main__":
    main()
