# SPDX-License-Identifier: MIT
"""Keep files before they are replaced, and put them back."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
from pathlib import Path

from ansible_collections.celery_on_hosts.platform.plugins.module_utils import atomic

CONTENT, PLACE = "content", "place"


class KeptFiles:
    """Files as they were, each in a folder of its own: its content with owner and mode, and the path it belongs to.

    Args:
        folder: where the files are kept, for root alone. It is made when the first file is kept.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def keep(self, path: str) -> None:
        """Keep what is at a path: a file, or that there is none. What is already kept of the path is not replaced.

        Raises:
            OSError: the file cannot be read or copied.
        """
        kept = self.folder / hashlib.sha256(os.fsencode(path)).hexdigest()
        if (kept / PLACE).exists():
            return
        shutil.rmtree(kept, ignore_errors=True)  # left by a run that was killed
        kept.mkdir(mode=0o700, parents=True)
        self.folder.parent.chmod(0o700)
        if os.path.lexists(path):
            _copy(path, kept / CONTENT)
        atomic.write(kept / PLACE, os.fsencode(path), sync=True)  # last: what has it is whole

    def restore(self) -> None:
        """Put each file back, and remove files that were not there.

        Raises:
            OSError: a file cannot be written.
        """
        for kept in sorted(self.folder.glob(f"*/{PLACE}")):
            path, content = os.fsdecode(kept.read_bytes()), kept.with_name(CONTENT)
            if content.exists():
                _copy(content, path)
            else:
                Path(path).unlink(missing_ok=True)

    def forget(self) -> None:
        """Remove what is kept, and the folder around it where nothing else is in there."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.folder.parent.rmdir()


def _copy(source: str | Path, target: str | Path) -> None:
    info = os.stat(source)
    owner = info.st_uid, info.st_gid
    with (
        open(source, "rb") as old,
        atomic.replacing(target, mode=stat.S_IMODE(info.st_mode), owner=owner, sync=True) as new,
    ):
        shutil.copyfileobj(old, new, 1 << 20)
