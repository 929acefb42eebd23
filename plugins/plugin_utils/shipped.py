# SPDX-License-Identifier: MIT
"""The files of ``celery_files``: what is shipped where, and which programs restart when a file changes.

Standard library only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ShippedFile:
    """A file that the controller ships to the application's hosts.

    Args:
        src: the path on the controller; empty for a file that is removed.
        dest: the path on the host.
        owner: its owner there.
        group: its group.
        mode: its octal mode.
        read_by: the programs that restart when it changes; None for all.
    """

    src: str
    dest: str
    owner: str
    group: str
    mode: str
    read_by: tuple[str, ...] | None

    def as_dict(self) -> dict[str, str]:
        """Return the file as the module ``ship_files`` takes it."""
        if not self.src:
            return {"dest": self.dest, "state": "absent"}
        return {key: getattr(self, key) for key in ("src", "dest", "owner", "group", "mode")}

    def digest(self) -> str:
        """Return what changes when the file does."""
        content = content_digest(self.src) if self.src else ""
        return "\0".join((self.dest, self.owner, self.group, self.mode, content))


def shipped_files(entries: Sequence[Mapping[str, Any]], folder: Path) -> list[ShippedFile]:
    """Return the files that the entries of ``celery_files`` mean.

    Args:
        entries: the entries, which preflight has checked. A folder stands for the files below it.
        folder: the inventory's folder, to which paths of the controller are relative.
    """
    return [file for entry in entries for file in _files(entry, folder)]


def _files(entry: Mapping[str, Any], folder: Path) -> Iterator[ShippedFile]:
    dest = str(entry["dest"])
    read_by = tuple(entry["read_by"]) if entry.get("read_by") is not None else None
    owner, group, mode = (str(entry.get(key, default)) for key, default in DEFAULTS.items())
    if entry.get("state", "file") == "absent":
        yield ShippedFile("", dest, owner, group, mode, read_by)
        return
    source = source_path(str(entry["src"]), folder)
    if not source.is_dir():
        yield ShippedFile(str(source), dest, owner, group, mode, read_by)
        return
    for path in sorted(source.rglob("*")):
        if path.is_file():
            below = f"{dest.rstrip('/')}/{path.relative_to(source).as_posix()}"
            yield ShippedFile(str(path), below, owner, group, mode, read_by)


DEFAULTS = {"owner": "root", "group": "celery", "mode": "0640"}


def source_path(src: str, folder: Path) -> Path:
    """Return the path of a file on the controller; ``src`` is relative to the inventory's folder."""
    return folder / Path(src).expanduser()


@cache
def content_digest(path: str) -> str:
    """Return the digest of a file's content. Large files are read once for all hosts."""
    total = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()


def restart_digest(files: Sequence[ShippedFile], program: str | None = None) -> str:
    """Return a digest that changes when programs have to restart; empty where no file concerns them.

    Args:
        files: the files.
        program: the program whose own files count; None for the files that all programs read.
    """
    concerned = [
        file.digest()
        for file in files
        if (file.read_by is None if program is None else program in (file.read_by or ()))
    ]
    return hashlib.sha256("\n".join(concerned).encode()).hexdigest()[:12] if concerned else ""
