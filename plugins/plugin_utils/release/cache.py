# SPDX-License-Identifier: MIT
"""The folder on the controller that keeps archives."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.celery_on_hosts.platform.plugins.module_utils.atomic import TEMPORARY
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.request import Result

WORK = ".build-"  # begins the name of a folder in which packages are installed
RECENT = 3600  # seconds


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one process at a time build into a folder; others wait."""
    with (folder / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def touch(result: Result) -> bool:
    """Mark both archives of a release as used, and return whether they are there."""
    try:
        for path in (result.deps_archive, result.release_archive):
            os.utime(path)
    except FileNotFoundError:
        return False
    return True


def manifest(archive: Path) -> Path:
    """Return the file beside an archive of packages that lists what is in it."""
    return archive.with_name(archive.name.replace(".tar.gz", ".json"))


def remove_leftovers(folder: Path) -> None:
    """Remove what an interrupted build left. The caller holds the lock."""
    for left in folder.glob(f"{WORK}*"):
        shutil.rmtree(left, ignore_errors=True)
    for left in folder.glob(f"{TEMPORARY}*"):
        left.unlink(missing_ok=True)


def prune(folder: Path, keep: int) -> None:
    """Remove all but the `keep` archives of each layer that were used last.

    An archive that was used within the last hour stays in any case: another deployment may be about to ship it.
    """
    recent = time.time() - RECENT
    for layer in ("deps", "release"):
        archives = sorted(folder.glob(f"{layer}-*.tar.gz"), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in archives[keep:]:
            if old.stat().st_mtime > recent:
                continue
            manifest(old).unlink(missing_ok=True)
            old.unlink(missing_ok=True)
