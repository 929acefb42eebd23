"""The states of a task, and what a result tells of it."""

from celery.result import AsyncResult

from ..registry import Seconds, example
from ..tasks import count


@example()
def progress(seconds: Seconds = 10) -> "AsyncResult[int]":
    """PROGRESS, a state of the task's own, tells how far it is."""
    return count.delay(seconds)
