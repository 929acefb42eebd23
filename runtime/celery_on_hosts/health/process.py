"""The layer ``process``: each program's process is alive and sends heartbeats."""

from __future__ import annotations

import time

from .. import processes
from ..names import log_file
from ..text import duration
from .heartbeats import Heartbeat, is_alive
from .report import Check

HEARTBEAT_MAX_AGE = 20.0  # seconds


def check(name: str, heartbeat: Heartbeat) -> Check:
    """Check the process of a worker or beat.

    Args:
        name: supervisor's name of the program.
        heartbeat: what the program reported last.
    """
    advice = f"supervisorctl status {name}; its log: {log_file(name)}"
    if not heartbeat:
        running = processes.main_process(name)
        if running:
            return Check("process", name, False, f"pid {running} is up but has not reported yet", advice=advice)
        return Check("process", name, False, "is not running", advice=f"supervisorctl start {name}; {advice}")
    pid = int(heartbeat.get("pid") or 0)
    if not is_alive(heartbeat):
        return Check("process", name, False, f"pid {pid}, which reported last, is gone", advice=advice)
    age = time.time() - heartbeat.get("heartbeat", 0)
    if age > HEARTBEAT_MAX_AGE:
        detail = f"pid {pid} has sent no heartbeat for {duration(age)}"
        return Check("process", name, False, detail, advice=f"it hangs: supervisorctl restart {name}; {advice}")
    up = duration(time.time() - heartbeat.get("started", time.time()))
    return Check("process", name, True, f"pid {pid}, up {up}")
