"""What a task may be told where it is defined."""

from typing import Annotated

from celery.result import AsyncResult
from pydantic import Field

from ..registry import example
from ..tasks import flaky


@example()
def backoff(failures: Annotated[int, Field(ge=0, le=6)] = 2) -> "AsyncResult[int]":
    """`autoretry_for` tries again after each error of a kind, waiting longer each time."""
    return flaky.delay(failures)
