# SPDX-License-Identifier: MIT
"""Files as an archive holds them, the digests that name them, and the archive itself."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ansible_collections.celery_on_hosts.platform.plugins.module_utils.atomic import replacing

MTIME = 315532800  # 1980-01-01: fixed, and still a date that zip files can hold
GZIP_LEVEL = 3


@dataclass(frozen=True)
class Entry:
    """One file of an archive, its path relative to the archive's top folder; `link` is a symbolic link's target."""

    path: str
    data: bytes = b""
    executable: bool = False
    link: str | None = None


def digest(parts: Iterable[bytes | str]) -> str:
    """Return the 12 hex digits that name a list of strings, each counted with its length."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(b"%d:" % len(data))
        total.update(data)
    return total.hexdigest()[:12]


def digest_entries(entries: Iterable[Entry]) -> str:
    """Return the digest of files: paths, kinds, modes and contents."""
    parts: list[bytes | str] = []
    for entry in sorted(entries, key=lambda item: item.path):
        kind = f"l{entry.link}" if entry.link is not None else "x" if entry.executable else "f"
        parts += [entry.path, kind, entry.data]
    return digest(parts)


def write_archive(path: Path, top: str, entries: Iterable[Entry]) -> None:
    """Write a tar.gz that depends on its content only, and appears whole or not at all.

    Every file has owner root, a fixed date and mode 0644 or 0755, so that only root can change what was unpacked.

    Args:
        path: the archive.
        top: the folder of the archive that holds everything.
        entries: the files.
    """
    ordered = sorted(entries, key=lambda entry: entry.path)
    folders = {"."} | {str(parent) for entry in ordered for parent in PurePosixPath(entry.path).parents}
    with (
        replacing(path, mode=0o600, sync=True) as raw,
        gzip.GzipFile("", "wb", GZIP_LEVEL, raw, MTIME) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for folder in sorted(folders):
            tar.addfile(_member(top if folder == "." else f"{top}/{folder}", tarfile.DIRTYPE, 0o755))
        for entry in ordered:
            if entry.link is not None:
                link = _member(f"{top}/{entry.path}", tarfile.SYMTYPE, 0o777)
                link.linkname = entry.link
                tar.addfile(link)
            else:
                file = _member(f"{top}/{entry.path}", tarfile.REGTYPE, 0o755 if entry.executable else 0o644)
                file.size = len(entry.data)
                tar.addfile(file, io.BytesIO(entry.data))


def _member(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    item = tarfile.TarInfo(name)
    item.type, item.mode, item.mtime = kind, mode, MTIME
    item.uname = item.gname = "root"
    return item
