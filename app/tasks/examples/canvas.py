"""Tasks that are put together to one piece of work."""

from typing import Any

from celery import chain, chord, group
from celery.result import AsyncResult

from ..registry import Number, Numbers, Seconds, Text, example
from ..tasks import add, count, fail, mul, xsum
from .calling import explain


@example()
def signature(x: Number = 2, y: Number = 3) -> AsyncResult[float]:
    """A signature is a call that can be kept, handed on and sent later, with its options."""
    call = add.signature((x, y), countdown=1)
    return call.delay()


@example()
def partial(x: Number = 2, y: Number = 3) -> AsyncResult[float]:
    """A signature may lack arguments. What comes later is put before those that it has."""
    double = mul.s(2)
    plus = add.s(y)
    return (double.clone((x,)) | plus).delay()


@example()
def immutable(x: Number = 2, y: Number = 3) -> AsyncResult[float]:
    """An immutable signature, `si`, takes no results of others."""
    return chain(count.si(1), add.si(x, y)).delay()


@example()
def group_of_adds(numbers: Numbers = [1, 2, 3]) -> Any:
    """A group: its members run at the same time, as far as there are processes."""
    return group(add.s(number, number) for number in numbers).apply_async()


@example()
def chain_of_tasks(x: Number = 2, y: Number = 3, factor: Number = 10) -> AsyncResult[float]:
    """A chain: each task is given the result of the one before."""
    return chain(add.s(x, y), mul.s(factor), add.s(1)).delay()


@example()
def pipe(x: Number = 2, y: Number = 3, factor: Number = 10) -> AsyncResult[float]:
    """The same chain, written with `|`."""
    return (add.s(x, y) | mul.s(factor) | add.s(1)).delay()


@example()
def chord_of_adds(numbers: Numbers = [1, 2, 3]) -> AsyncResult[float]:
    """A chord: when all members of a group are done, its body is given their results."""
    return chord(add.s(number, number) for number in numbers)(xsum.s())


@example()
def group_then_task(numbers: Numbers = [1, 2, 3]) -> AsyncResult[float]:
    """A group with a task behind it becomes a chord."""
    return (group(mul.s(number, 10) for number in numbers) | xsum.s()).delay()


@example()
def map_of_sums(first: Numbers = [1, 2], second: Numbers = [3, 4, 5]) -> AsyncResult[list[float]]:
    """`map`: one task that calls another for each item, one after the other, and returns all results."""
    return xsum.map([first, second]).delay()


@example()
def starmap_of_adds(numbers: Numbers = [1, 2, 3]) -> AsyncResult[list[float]]:
    """`starmap`: as `map`, with the item as the arguments."""
    return add.starmap([(number, number) for number in numbers]).delay()


@example()
def chunks_of_adds(numbers: Numbers = [1, 2, 3, 4, 5, 6, 7], size: Seconds = 3) -> Any:
    """`chunks`: many items in a few tasks, for a message costs more than a small sum."""
    return add.chunks([(number, number) for number in numbers], size).apply_async()


@example()
def nested(x: Number = 2, y: Number = 3) -> AsyncResult[float]:
    """A chain of a task, a group with a chain in it, and a sum of what the group returns."""
    return chain(
        add.s(x, y),
        group(mul.s(2), mul.s(3) | add.s(1), add.s(100)),
        xsum.s(),
    ).delay()


@example()
def chain_that_fails(message: Text = "as asked") -> AsyncResult[float]:
    """When a task of a chain fails, the rest is not sent, and fails with it. `on_error` says what to do then."""
    return chain(add.si(2, 3), fail.si(message), add.si(4, 5)).on_error(explain.s()).delay()


@example()
def chord_that_fails(message: Text = "as asked") -> AsyncResult[float]:
    """When a member fails, the body fails with a ChordError, and its error callback is called."""
    return chord([add.s(2, 3), fail.s(message)])(xsum.s().on_error(explain.s()))
