"""The layer ``upstream``: what a program leaves out, because its Celery is not one that the runtime knows."""

from __future__ import annotations

from collections.abc import Iterator

from .heartbeats import Heartbeat
from .report import Check

ADVICE = "celery_on_hosts/couplings.py has what it needs"


def check(name: str, heartbeat: Heartbeat) -> Iterator[Check]:
    """Warn of each protection that a program could not put in place. No check where all are.

    Args:
        name: supervisor's name of the program.
        heartbeat: what the program reported last.
    """
    for warning in heartbeat.get("left_out", ()):
        yield Check("upstream", name, False, warning, "warning", ADVICE)
