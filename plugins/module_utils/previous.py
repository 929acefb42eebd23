# SPDX-License-Identifier: MIT
"""Keep what a service's files were before a deployment changes them, until the service runs with the new ones.

A service that does not take its new files up gets these back. Each unit has one JSON file, which is there from before
the first file is written until the service runs: an interrupted deployment leaves the file to the next.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.module_utils import atomic
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.originals import UNKNOWN, at, put_back


class Previous:
    """What a unit's files were when the service last ran with them.

    Args:
        folder: where the records are.
        unit: the unit's full name.
    """

    def __init__(self, folder: Path, unit: str) -> None:
        self.path = folder / f"{unit}.json"

    @property
    def files(self) -> dict[str, dict[str, Any]]:
        """What was at each path; empty where no change is under way."""
        try:
            found: dict[str, dict[str, Any]] = json.loads(self.path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return found

    def keep(self, paths: Iterable[str]) -> None:
        """Keep what is at some paths that are about to change. What is kept of a path stays.

        Raises:
            OSError: the record cannot be written.
        """
        known = self.files
        new = {path: at(Path(path)) for path in paths if path not in known}
        if new:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            atomic.write(self.path, json.dumps(known | new, indent=1), sync=True)

    def put_back(self) -> list[str]:
        """Make each path what it was, the last that was written first. Return the paths that differed.

        A folder, which is not kept, stays as it is.

        Raises:
            OSError: a path cannot be changed.
        """
        done = []
        for path, one in reversed(self.files.items()):
            if one["state"] != UNKNOWN and at(Path(path)) != one:
                put_back(Path(path), one)
                done.append(path)
        return done

    def forget(self) -> None:
        """Remove the record: the service runs with what is there."""
        self.path.unlink(missing_ok=True)
