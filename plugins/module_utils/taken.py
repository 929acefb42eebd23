# SPDX-License-Identifier: MIT
"""What the platform took over from others: copies of their files beside these, and a mark for `make remove`."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from ansible_collections.celery_on_hosts.platform.plugins.module_utils import atomic
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.names import STATE

TAKEN = f"{STATE}/taken"  # a file for each service that was taken over
BEFORE = ".before-celery-"  # between a file's name and the date in the name of its copy


def copies_of(path: Path) -> list[Path]:
    """Return the copies of a file that are beside it, the oldest first."""
    return sorted(path.parent.glob(f"{path.name}{BEFORE}*"))


def keep_beside(paths: Iterable[Path], check: bool) -> list[Path]:
    """Copy files to a name with the date, beside them, with owner and mode; return the copies that were made.

    A file with the same content as one of its copies is not copied again.

    Args:
        paths: the files. Those that do not exist are left out.
        check: only return what would be made.

    Raises:
        OSError: a copy cannot be written.
    """
    made = []
    for path in paths:
        if not path.is_file() or any(copy.read_bytes() == path.read_bytes() for copy in copies_of(path)):
            continue
        copy = path.with_name(f"{path.name}{BEFORE}{time.strftime('%Y-%m-%dT%H%M%S')}")
        made.append(copy)
        if not check:
            info = path.stat()
            shutil.copy2(path, copy)
            os.chown(copy, info.st_uid, info.st_gid)
    return made


def mark(service: str, state: str, folder: Path = Path(TAKEN)) -> None:
    """Record that a service is taken over; the first record stays.

    Args:
        service: the service.
        state: what it was before, `started` or `stopped`.
        folder: where the records are.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (folder / service).exists():
        atomic.write(folder / service, state)
