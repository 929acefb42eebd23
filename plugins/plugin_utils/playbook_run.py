# SPDX-License-Identifier: MIT
"""One run of ansible-playbook: who started it, on which controller, as which process, and whether it still runs."""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PROC = Path("/proc")


def describe(pid: int) -> dict[str, Any]:
    """Return who runs a process of this controller, in the words of the module `deploy_lock`.

    Args:
        pid: the main process of ansible-playbook. An action plugin runs in a child of that process.

    Returns:
        `user`, `controller` (its host name), `machine` (see `machine`), `pid`, `started` (see `started`), and `run`, an
        id that no other run has.
    """
    said: dict[str, Any] = {"user": _user(), "controller": socket.gethostname(), "machine": machine()}
    said |= {"pid": pid, "started": started(pid)}
    return said | {"run": hashlib.sha256(repr(sorted(said.items())).encode()).hexdigest()[:12]}


def has_ended(run: Mapping[str, Any]) -> bool:
    """Tell whether a run is known to be over.

    Only a run of this controller, since the controller's last boot, can be known to be over.

    Args:
        run: what `describe` returned, then.
    """
    here = run.get("controller") == socket.gethostname() and run.get("machine") == machine() != ""
    return here and started(int(run["pid"])) != run.get("started")


def machine() -> str:
    """Return the boot and the PID namespace, within which a PID belongs to one process; empty without /proc."""
    with contextlib.suppress(OSError):
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {(PROC / 'self/ns/pid').readlink()}"
    return ""


def started(pid: int) -> int:
    """Return when a process was started, in ticks of the kernel since boot; 0 where it has ended, or without /proc."""
    with contextlib.suppress(OSError):
        # The second field, the command in parentheses, may hold anything.
        state, *fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return 0 if state in "ZX" else int(fields[18])
    return 0


def _user() -> str:
    """Return the name of the user who started this, also through sudo."""
    with contextlib.suppress(OSError, KeyError):
        return os.environ.get("SUDO_USER") or getpass.getuser()
    return str(os.getuid())
