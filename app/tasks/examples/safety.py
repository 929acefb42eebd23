"""What a message may be. A worker takes JSON, and msgpack and yaml for those who ask for it; nothing that runs code.

With `CELERY_SECURITY_KEY` each message is signed, and a worker takes nothing else. Celery signs a task's arguments.
"""

from datetime import date
from typing import Any

from celery.result import AsyncResult
from django.conf import settings

from ..celery import app
from ..registry import Number, Text, example
from ..tasks import add

SIGNED = bool(settings.CELERY_SECURITY_KEY)


@app.task(serializer="auth" if SIGNED else "msgpack")
def weigh(data: bytes) -> int:
    """Count bytes. msgpack carries them as they are."""
    return len(data)


@app.task(serializer="auth" if SIGNED else "yaml")
def weekday(day: date) -> str:
    """Name the day of the week. yaml carries dates."""
    return f"{day:%A}"


@example()
def by_msgpack(text: Text = "grüße") -> "AsyncResult[int]":
    """A task opts in to msgpack, for bytes."""
    return weigh.delay(text.encode())


@example(raises=ValueError)
def by_yaml(year: int = 2026, month: int = 11, day: int = 21) -> "AsyncResult[str]":
    """A task opts in to yaml, for dates. kombu loads it safely: no tag makes an object of a class."""
    return weekday.delay(date(year, month, day))


@example()
def pickle_is_refused(x: Number = 2, y: Number = 3) -> "AsyncResult[float]":
    """A pickled message is never read, for that can run any code: it stays PENDING, and the worker's log has why."""
    return add.apply_async((x, y), serializer="pickle")


@example()
def unsigned(x: Number = 2, y: Number = 3) -> "AsyncResult[float]":
    """A message without a signature: refused, as a pickled one, where messages are signed, and taken elsewhere."""
    return add.apply_async((x, y), serializer="json")


@example()
def accepted() -> dict[str, Any]:
    """What this deployment sends and accepts."""
    return {"sends": app.conf.task_serializer, "accepts": sorted(app.conf.accept_content), "signed": SIGNED}
