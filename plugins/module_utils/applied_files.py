# SPDX-License-Identifier: MIT
"""The files that a service was last started, restarted or reloaded with, as digests on its host."""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Collection
from pathlib import Path

from ansible_collections.celery_on_hosts.platform.plugins.module_utils import atomic
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.block import block_of


def digest(path: Path, block: bool = False) -> str:
    """Return a digest of a file's content, owner and mode, or 'absent'.

    Args:
        path: the file.
        block: only the platform's lines in a file of others count.
    """
    try:
        if block:
            lines = block_of(path.read_text(encoding="utf-8", errors="surrogateescape"))
            return "absent" if lines is None else f"block {hashlib.sha256(lines.encode()).hexdigest()}"
        info = path.stat()
        content = hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return "absent"
    return f"{content} {stat.S_IMODE(info.st_mode):o} {info.st_uid}:{info.st_gid}"


def digests(paths: list[str], blocks: Collection[str] = ()) -> dict[str, str]:
    """Return the digest of each file, including those in folders. A missing folder counts as empty.

    Args:
        paths: the files and folders.
        blocks: those of the files in which only the platform's lines count.
    """
    found = {}
    for path in paths:
        files = sorted(Path(path).rglob("*")) if Path(path).is_dir() else [Path(path)]
        found.update({str(file): digest(file, str(file) in blocks) for file in files if not file.is_dir()})
    return {path: value for path, value in found.items() if value != "absent"}


def read_stamp(path: Path) -> dict[str, str] | None:
    """Return the files' digests that were last applied, None where there is no record."""
    try:
        stamp = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return stamp if isinstance(stamp, dict) else None


def write_stamp(path: Path, found: dict[str, str]) -> None:
    """Record the files' digests that were applied, readable by root only."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    atomic.write(path, json.dumps(found, indent=1))


def still_named(before: dict[str, str] | None, paths: list[str]) -> dict[str, str] | None:
    """Return the record without files that this unit no longer manages."""
    if before is None:
        return None
    return {path: value for path, value in before.items() if {path, *map(str, Path(path).parents)} & set(paths)}


def differing(before: dict[str, str] | None, after: dict[str, str]) -> list[str]:
    """Return the paths that were added, removed or changed."""
    before = before or {}
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
