"""A worker waits for a result store that is full, as it does for one that is away.

Celery's Redis backend counts only lost connections among what is worth another try. At ``maxmemory`` Redis refuses to
write: the error ended the task outside of its body, before it had a final state, and its message was acknowledged
(Celery 5.7: make chaos FAULT=F16 BROKER=redis lost 38 of 211 tasks).
"""

from __future__ import annotations

from functools import wraps
from typing import Any


def install() -> None:
    """Make the change in this process; done twice it is done once. Without redis-py there is nothing to change."""
    try:
        from redis.exceptions import ExecAbortError, OutOfMemoryError
    except ImportError:
        return
    from celery.backends.redis import RedisBackend

    impatient = RedisBackend.exception_safe_to_retry
    if hasattr(impatient, "__wrapped__"):
        return

    @wraps(impatient)
    def exception_safe_to_retry(self: Any, exc: BaseException) -> bool:
        full = isinstance(exc, OutOfMemoryError) or (isinstance(exc, ExecAbortError) and "OOM" in str(exc))
        return full or bool(impatient(self, exc))

    RedisBackend.exception_safe_to_retry = exception_safe_to_retry
