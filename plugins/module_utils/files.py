"""Compare directories, files and links of a host with what they should be, and change those that differ."""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import stat
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_on_hosts.platform.plugins.module_utils import atomic
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.block import with_block

ARGUMENT_SPEC: dict[str, Any] = {
    "dest": {"type": "path", "required": True},
    "content": {"type": "str"},
    "secret": {"type": "str", "no_log": True},
    "block": {"type": "str"},
    "link": {"type": "str"},
    "state": {"type": "str", "choices": ["file", "directory", "link", "absent"]},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
    "mode": {"type": "str"},
}


class SilentModule(AnsibleModule):
    """A module that does not log its arguments on the host: Ansible does not mask a secret that has line breaks."""

    def _log_invocation(self) -> None:
        """Log nothing."""


class FilesError(Exception):
    """A path that cannot be compared or changed; the message names the path."""


class Entry:
    """Compare and change one path.

    Args:
        spec: an entry with the keys of ``ARGUMENT_SPEC``.

    Raises:
        ValueError: a file has neither content nor secret nor block.
    """

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self.dest: str = spec["dest"]
        self.secret = spec["secret"] is not None
        text = spec["secret"] if self.secret else spec["content"]
        self.text: str = text or ""
        self.link: str | None = spec["link"]
        self.state: str = spec["state"] or ("link" if self.link else "file")
        if self.state == "file" and text is None:
            raise ValueError(f"{self.dest}: a file needs content, secret or block")
        self.mode = int(spec["mode"] or ("0755" if self.state == "directory" else "0644"), 8)
        self.owner: str = spec["owner"]
        self.group: str = spec["group"]

    def found(self) -> dict[str, Any]:
        """Return what is at the path now, in the words of the diff."""
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
        """Return what should be at the path, in the words of `found`."""
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
        """Change the path from `found` to what is wanted.

        Raises:
            OSError: the path cannot be changed.
            KeyError: the owner or the group is unknown.
        """
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
        atomic.write(self.dest, self.text, mode=self.mode, owner=(uid, gid), sync=True)

    def diff(self, found: dict[str, Any], wanted: dict[str, Any]) -> dict[str, str]:
        """Return before and after, for ``--diff``; a secret is shown as the beginning of its digest."""
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
            digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]
            differing.append(f"(a secret, {digest})\n" if self.secret and text else text)
        return "".join(differing)


class Block(Entry):
    """Compare and change lines at the top of a file of others, which stays as it is below them."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        super().__init__({**spec, "content": spec["block"]})

    def wanted(self) -> dict[str, Any]:
        """Return what should be at the path: what others have there, below the lines.

        Raises:
            ValueError: there is no file.
        """
        found = self.found()
        if found["state"] != "file":
            raise ValueError("there is no file to write a block into")
        return {**found, "text": with_block(found["text"], self.text)}

    def write(self, found: dict[str, Any]) -> None:
        """Change the text, and keep owner and mode.

        Raises:
            OSError: the path cannot be changed.
        """
        info = os.stat(self.dest)
        text, owner = with_block(found["text"], self.text), (info.st_uid, info.st_gid)
        atomic.write(self.dest, text, mode=stat.S_IMODE(info.st_mode), owner=owner, sync=True)


def _name(lookup: Any, number: int) -> str:
    try:
        return str(lookup(number)[0])
    except KeyError:
        return str(number)


def bring(specs: Sequence[Mapping[str, Any]], check_mode: bool) -> tuple[list[str], list[dict[str, str]]]:
    """Make each path what its entry says, in order.

    Args:
        specs: entries with the keys of ``ARGUMENT_SPEC``.
        check_mode: only return what would change.

    Returns:
        The paths that changed, and a diff for each.

    Raises:
        FilesError: a path cannot be compared or changed. The paths of earlier entries are done.
    """
    changed: list[str] = []
    diffs: list[dict[str, str]] = []
    for spec in specs:
        try:
            entry = Entry(spec) if spec.get("block") is None else Block(spec)
            found, wanted = entry.found(), entry.wanted()
            if found == wanted:
                continue
            if not check_mode:
                entry.write(found)
        except (OSError, ValueError, KeyError) as error:
            raise FilesError(f"{spec['dest']}: {error}") from error
        changed.append(entry.dest)
        diffs.append(entry.diff(found, wanted))
    return changed, diffs
