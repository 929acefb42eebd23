"""The heartbeats that workers and beat left, read by the layers; ``celery_on_hosts.liveness`` writes them."""

from __future__ import annotations

from typing import Any

from .. import processes
from ..files import read_object
from ..names import heartbeat_file, run_dir

Heartbeat = dict[str, Any]


def read(program: str) -> Heartbeat:
    """Return the last heartbeat of a program, empty where there is none."""
    return read_object(heartbeat_file(program))


def read_all() -> dict[str, Heartbeat]:
    """Return the last heartbeat of every program that left one on this host, by its name."""
    return {path.stem: read_object(path) for path in run_dir().glob("*.json")}


def is_alive(heartbeat: Heartbeat) -> bool:
    """Return whether the process of a heartbeat still runs, and its number was not given to another process."""
    return b"celery" in processes.read(int(heartbeat.get("pid") or 0), "cmdline")


def busy(heartbeat: Heartbeat) -> bool:
    """Return whether each slot of a worker is taken."""
    return bool(heartbeat) and tasks(heartbeat) >= (heartbeat.get("concurrency") or 1)


def tasks(heartbeat: Heartbeat) -> int:
    """Count the tasks that a worker runs, without canaries: a canary that hangs must not be its own excuse."""
    return int(heartbeat.get("active", 0)) - int(heartbeat.get("canaries", 0))
