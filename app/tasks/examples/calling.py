"""How to call a task."""

from typing import Any

from celery.result import AsyncResult

from ..registry import Number, Seconds, example
from ..tasks import add


@example()
def delay(x: Number = 2, y: Number = 3) -> "AsyncResult[float]":
    """Send a task with `delay`."""
    return add.delay(x, y)


@example()
def countdown(x: Number = 2, y: Number = 3, seconds: Seconds = 5) -> "AsyncResult[float]":
    """Start no sooner than in some seconds."""
    return add.apply_async((x, y), countdown=seconds)


@example()
def direct(x: Number = 2, y: Number = 3) -> Any:
    """Call the function itself: no message, no worker."""
    return add(x, y)


@example(raises=TypeError)
def wrong_arguments() -> "AsyncResult[float]":
    """A task's arguments are checked when it is called, not when it runs."""
    return add.delay(2)
