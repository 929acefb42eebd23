"""The layer ``beat``: its scheduler has finished a tick lately."""

from __future__ import annotations

import time

from ..names import log_file
from ..text import duration
from .heartbeats import Heartbeat
from .report import Check

SLACK = 30.0  # seconds that a tick may come later than beat itself said


def check(name: str, heartbeat: Heartbeat, max_age: float) -> Check:
    """Check the age of beat's last tick.

    Args:
        name: supervisor's name of the program.
        heartbeat: what beat reported last, empty when its process is gone.
        max_age: seconds that are allowed at least.
    """
    if not heartbeat:
        return Check("beat", name, False, "no report to read", advice="see process above")
    age = time.time() - heartbeat.get("last_tick", 0)
    detail = f"last tick {duration(age)} ago"
    if age > max(max_age, heartbeat.get("interval", 0) + SLACK):
        return Check("beat", name, False, detail, advice=f"is the broker up? See {log_file(name)}")
    return Check("beat", name, True, detail)
