"""A prefork pool that, when its worker stops, still knows what it has just handed to a child.

Celery's pool forgets each job that no child has accepted yet, because the broker will deliver the message again. But a
job that was written to a child's pipe is run all the same: it would run twice, and the child would wait 30 s for
somebody to read its result before it ended. A stop under load met that more often than not (Celery 5.7, either broker).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from .couplings import HANDED_JOBS
from .upstream import replace


def install() -> None:
    """Change the pool of this process. Idempotent."""
    if HANDED_JOBS.fits():
        from celery.concurrency.asynpool import AsynPool

        replace(AsynPool, "flush", _keep_handed_jobs)


def _keep_handed_jobs(forget: Callable[[Any], None]) -> Callable[[Any], None]:
    @wraps(forget)
    def flush(self: Any) -> None:
        handed = [job for job in self._cache.values() if job._write_to is not None and not job._accepted]
        for job in handed:
            job._accepted = True
        try:
            forget(self)
        finally:
            for job in handed:
                job._accepted = job._time_accepted is not None

    return flush
