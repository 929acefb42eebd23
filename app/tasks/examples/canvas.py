"""Tasks that are put together to one piece of work."""

from celery import chord
from celery.result import AsyncResult

from ..registry import Numbers, example
from ..tasks import add, xsum


@example()
def chord_of_adds(numbers: Numbers = [1, 2, 3]) -> "AsyncResult[float]":
    """A chord: sum what the members of a group return."""
    return chord(add.s(number, number) for number in numbers)(xsum.s())
