"""The layer ``consuming``: each worker reads its queues, unless the host is drained."""

from __future__ import annotations

import time

from ..names import log_file
from ..platform_file import Program
from ..text import duration
from .heartbeats import Heartbeat, is_alive, read_all
from .report import Check

LOOP_MAX_AGE = 60.0  # seconds


def check(program: Program, heartbeat: Heartbeat) -> Check:
    """Check that a worker reads its queues.

    Args:
        program: the worker.
        heartbeat: what the worker reported last, empty when its process is gone.
    """
    name, queues = program.program, set(heartbeat.get("queues", ()))
    missing = sorted(set(program.queues) - queues)

    def wrong(detail: str, advice: str) -> Check:
        return Check("consuming", name, False, detail, advice=advice)

    if not heartbeat:
        return wrong("no report to read", "see process above")
    if heartbeat.get("state") == "stopping":
        return wrong(f"is stopping, {heartbeat.get('active', 0)} tasks still run", "wait for it, or see its log")
    if not heartbeat.get("connected"):
        advice = f"is the broker up, and may the worker log in? See {log_file(name)}"
        return wrong("is not connected to the broker", advice)
    if missing:
        node = program.node or heartbeat.get("node", "")
        advice = f"celery control -d {node} add_consumer {missing[0]}, or supervisorctl restart {name}"
        return wrong(f"does not read {', '.join(missing)}", advice)
    age = time.time() - heartbeat.get("loop", time.time())
    if age > LOOP_MAX_AGE and not (heartbeat.get("pool") == "solo" and heartbeat.get("active")):
        advice = f"it hangs: supervisorctl restart {name}; see {log_file(name)}"
        return wrong(f"its main loop has stood still for {duration(age)}", advice)
    detail = f"{', '.join(sorted(queues))}; {heartbeat.get('active', 0)} of {heartbeat.get('concurrency', '?')} busy"
    return Check("consuming", name, True, detail)


def check_drained() -> Check:
    """Check that no worker of a drained host still takes tasks, whatever the worker is called."""
    consuming = sorted(
        name
        for name, heartbeat in read_all().items()
        if heartbeat.get("queues") and heartbeat.get("state") != "stopping" and is_alive(heartbeat)
    )
    if consuming:
        detail = f"this host is drained, and {', '.join(consuming)} works on"
        return Check("consuming", "workers", False, detail, advice="make drain HOST=… once more")
    advice = "make undrain HOST=… starts them again"
    return Check("consuming", "workers", False, "stopped: this host is drained", "warning", advice)
