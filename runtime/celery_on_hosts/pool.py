"""A prefork pool that, when its worker stops, still knows what it has just handed to a child.

Celery's forgets each job that no child has accepted yet, for the broker will deliver it again. But one that was
written to a child's pipe is run all the same: it would run twice, and the child would wait 30 s for somebody to read
its result before it ended. Under load a stop met that more often than not (Celery 5.7, either broker).
"""

from __future__ import annotations

from functools import wraps
from typing import Any


def install() -> None:
    """Make the change in this process; done twice it is done once."""
    from celery.concurrency.asynpool import AsynPool

    forgetful = AsynPool.flush
    if hasattr(forgetful, "__wrapped__"):
        return

    @wraps(forgetful)
    def flush(self: Any) -> None:
        handed = [job for job in self._cache.values() if job._write_to is not None and not job._accepted]
        for job in handed:
            job._accepted = True
        try:
            forgetful(self)
        finally:
            for job in handed:
                job._accepted = job._time_accepted is not None

    AsynPool.flush = flush
