"""Names of the processes that hold messages of Redis, by which a host knows whose process has ended."""

from __future__ import annotations

import os
import socket
import uuid
from pathlib import Path

from . import processes


def host() -> str:
    """Return what tells this host from others: its name, and systemd's identity of it."""
    try:
        identity = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except OSError:
        identity = ""
    return f"{socket.gethostname()}.{identity}"


def holder() -> str:
    """Return this process's name as the holder of a message."""
    if _Me.pid != os.getpid():
        _Me.pid, _Me.name = os.getpid(), f"{host()}/{os.getpid()}/{uuid.uuid4().hex}"
    return _Me.name


def is_gone(name: str) -> bool:
    """Return whether a holder was a process of this host that has ended.

    A dead process whose number another process has now is not recognized; the timeout returns its messages.

    Args:
        name: as ``holder`` makes it.
    """
    where, pid, _ = name.rsplit("/", 2)
    if where != host() or name == holder():
        return False
    return pid == str(os.getpid()) or not processes.exists(pid)


class _Me:
    pid = 0
    name = ""
