# SPDX-License-Identifier: MIT
"""Read processes from /proc. Whatever is read of a process that has ended raises OSError."""

from __future__ import annotations

import os
from pathlib import Path

PROC = Path("/proc")


def folders(proc: Path = PROC) -> list[Path]:
    """Return the folder of each process.

    Args:
        proc: where /proc is mounted.
    """
    return [proc / name for name in os.listdir(proc) if name.isdigit()]


def environment(folder: Path) -> dict[str, str]:
    """Return the environment that a process was started with."""
    pairs = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def parent_and_start(folder: Path) -> tuple[int, int]:
    """Return the PID of a process's parent, and when the process was started, in clock ticks since boot."""
    fields = (folder / "stat").read_text().rpartition(")")[2].split()  # the name before may hold spaces
    return int(fields[1]), int(fields[19])
