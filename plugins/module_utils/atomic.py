# SPDX-License-Identifier: MIT
"""Replace a file as a whole: a reader sees the old content or the new, also when the writer is interrupted."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

TEMPORARY = ".new-"  # begins the name of a file that was not renamed yet


@contextlib.contextmanager
def replacing(
    path: str | Path, *, mode: int = 0o600, owner: tuple[int, int] | None = None, sync: bool = False
) -> Iterator[IO[bytes]]:
    """Open a temporary file that replaces a file at the end of the block, and is removed when the block raises.

    Args:
        path: the file to replace.
        mode: its permissions.
        owner: its user and group, as numbers; those of this process when left out.
        sync: wait until the content is on the disk, so that a power failure leaves no empty file.

    Raises:
        OSError: the file cannot be written.
    """
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=TEMPORARY)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            if owner:
                os.fchown(file.fileno(), *owner)
            os.fchmod(file.fileno(), mode)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def write(
    path: str | Path,
    content: str | bytes,
    *,
    mode: int = 0o600,
    owner: tuple[int, int] | None = None,
    sync: bool = False,
) -> None:
    """Replace a file's content. Text is UTF-8 and may hold surrogate escapes; see `replacing` for the rest."""
    data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    with replacing(path, mode=mode, owner=owner, sync=sync) as file:
        file.write(data)
