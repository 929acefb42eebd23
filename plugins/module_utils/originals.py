# SPDX-License-Identifier: MIT
"""Keep what a host had where the platform writes a service's files, so that `make remove` puts it back.

Each unit that ``service_applied`` configures has one JSON file: whether the unit ran and was enabled, and the file, the
link or nothing that was at each path.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.module_utils import atomic

ABSENT, UNKNOWN = "absent", "unknown"


def at(path: Path) -> dict[str, Any]:
    """Return what is at a path: content, owner and mode of a file, or the target of a link."""
    try:
        info = path.lstat()
    except FileNotFoundError:
        return {"state": ABSENT}
    if stat.S_ISLNK(info.st_mode):
        return {"state": "link", "target": os.readlink(path)}
    if not stat.S_ISREG(info.st_mode):
        return {"state": UNKNOWN}
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    return {"state": "file", "text": text, "mode": stat.S_IMODE(info.st_mode), "uid": info.st_uid, "gid": info.st_gid}


def put_back(path: Path, original: Mapping[str, Any]) -> None:
    """Make a path what it was. Where that is not known, nothing is left there.

    Raises:
        OSError: the path cannot be changed.
    """
    if original["state"] == "file":
        path.parent.mkdir(parents=True, exist_ok=True)
        owner = (original["uid"], original["gid"])
        atomic.write(path, original["text"], mode=original["mode"], owner=owner, sync=True)
        return
    if os.path.lexists(path):
        path.unlink()
    if original["state"] == "link":
        path.symlink_to(original["target"])


class Originals:
    """What a unit and its files were before the platform configured the unit.

    Args:
        folder: where the records are.
        unit: the unit's full name.
    """

    def __init__(self, folder: Path, unit: str) -> None:
        self.path = folder / f"{unit}.json"

    def read(self) -> dict[str, Any]:
        """Return `unit`, what systemctl said, and `files` by path; both are empty where nothing was kept."""
        try:
            found: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            found = {}
        return {"unit": {}, "files": {}} | found

    @property
    def unit(self) -> dict[str, str]:
        """What systemctl said of the unit."""
        return dict(self.read()["unit"])

    @property
    def files(self) -> dict[str, dict[str, Any]]:
        """What was at each path."""
        return dict(self.read()["files"])

    def keep(self, paths: Iterable[str], unit: Mapping[str, str] | None) -> None:
        """Keep what is at some paths, before the platform writes there for the first time.

        Args:
            paths: absolute paths. What is kept of a path stays.
            unit: what systemctl says of a unit that the platform has not configured yet. None where it has: a file that
                was not kept then may be the platform's own already, and is recorded as unknown.

        Raises:
            OSError: the record cannot be written.
        """
        known: dict[str, Any] = {"unit": dict(unit), "files": {}} if unit is not None else self.read()
        new = {path: at(Path(path)) for path in paths if path not in known["files"]}
        if unit is None:
            new = {path: one if one["state"] == ABSENT else {"state": UNKNOWN} for path, one in new.items()}
        if not new and self.path.exists():
            return
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        known["files"] |= new
        atomic.write(self.path, json.dumps(known, indent=1))
