"""Processes of this host, as ``/proc`` shows them."""

from __future__ import annotations

from pathlib import Path

from .names import PROGRAM_VARIABLE

PROC = Path("/proc")


def exists(pid: int | str) -> bool:
    """Return whether a process has this number."""
    return (PROC / str(pid)).exists()


def read(pid: int, name: str) -> bytes:
    """Return a file of a process, such as ``cmdline``; empty where the process is gone or is not ours to read."""
    try:
        return (PROC / str(pid) / name).read_bytes()
    except OSError:
        return b""


def working_directory(pid: int) -> Path | None:
    """Return the folder that a process works in, or None where that cannot be read."""
    try:
        return (PROC / str(pid) / "cwd").readlink()
    except OSError:
        return None


def main_process(program: str) -> int | None:
    """Return the oldest process that supervisor started as this program and that we may look into, or None."""
    mark = f"{PROGRAM_VARIABLE}={program}".encode()
    pids = sorted(int(path.name) for path in PROC.iterdir() if path.name.isdigit())
    return next((pid for pid in pids if mark in read(pid, "environ").split(b"\0")), None)
