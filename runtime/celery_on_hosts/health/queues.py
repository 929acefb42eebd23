"""The layer ``queues``: each queue is there, is read and is not too long; nothing is dead-lettered."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..names import DEAD_LETTER_QUEUES, DEAD_LETTERS
from ..platform_file import Platform
from .report import Check

WAITING_WARNING = 1000  # messages


@dataclass(frozen=True)
class Depth:
    """How many messages wait in a queue, and how many consumers it has: None where the broker cannot tell.

    A ``broadcast`` is no queue: each worker has one of its own, with a random name.
    """

    waiting: int
    consumers: int | None
    exists: bool = True
    broadcast: bool = False


def depths(connection: Any, platform: Platform, broadcasts: Collection[str] = ()) -> dict[str, Depth]:
    """Ask the broker for the depth of each queue of the platform and of the dead-letter queues.

    Args:
        connection: kombu's, open.
        platform: what should run here.
        broadcasts: those of the platform's queues that are broadcasts.
    """
    queues = [queue for queue in platform.queues if queue not in broadcasts]
    amqp = connection.transport.driver_type == "amqp"
    found = dict(_of_rabbitmq(connection, queues) if amqp else _of_redis(connection, queues))
    return found | {queue: Depth(0, None, broadcast=True) for queue in platform.queues if queue in broadcasts}


def _of_redis(connection: Any, queues: Sequence[str]) -> Iterator[tuple[str, Depth]]:
    for queue in (*queues, DEAD_LETTERS):
        yield queue, Depth(int(connection.default_channel._size(queue)), None)


def _of_rabbitmq(connection: Any, queues: Sequence[str]) -> Iterator[tuple[str, Depth]]:
    for queue in (*queues, *DEAD_LETTER_QUEUES):
        channel = connection.channel()
        try:
            declared = channel.queue_declare(queue, passive=True)
            yield queue, Depth(declared.message_count, declared.consumer_count)
            channel.close()
        except connection.channel_errors:  # there is no such queue; the broker has closed the channel
            if queue in queues:
                yield queue, Depth(0, 0, exists=False)


def depth(connection: Any, queue: str) -> Depth | None:
    """Return the depth of one queue, None where it does not exist.

    Args:
        connection: kombu's, open.
        queue: its name, whether or not the platform has it.
    """
    amqp = connection.transport.driver_type == "amqp"
    found = dict(_of_rabbitmq(connection, [queue]) if amqp else _of_redis(connection, [queue]))
    return found[queue] if found[queue].exists else None


def check(found: dict[str, Depth], platform: Platform, seconds: float) -> Iterator[Check]:
    """Check all queues.

    Args:
        found: what the broker said of each queue.
        platform: what should run here.
        seconds: how long the broker's answer took.
    """
    for queue in platform.queues:
        yield _check_queue(queue, found[queue], seconds)
    for queue in DEAD_LETTER_QUEUES:
        if queue in found:
            yield _check_dead_letters(queue, found[queue].waiting)


def _check_queue(queue: str, depth: Depth, seconds: float) -> Check:
    if depth.broadcast:
        return Check("queues", queue, True, "a broadcast, of which each worker has a queue", seconds=seconds)
    if not depth.exists:
        advice = "celery-python -m celery_on_hosts.check --declare"
        return Check("queues", queue, False, "does not exist", "error", advice, seconds)
    waiting = f"{depth.waiting} waiting"
    if depth.consumers == 0:
        advice = "start a worker that reads it (celery_workers)"
        return Check("queues", queue, False, f"{waiting}, and nobody reads it", "error", advice, seconds)
    readers = "" if depth.consumers is None else f", {depth.consumers} reading"
    if depth.waiting > WAITING_WARNING:
        advice = "add workers, or see what holds them up: celery inspect active"
        return Check("queues", queue, False, waiting + readers, "warning", advice, seconds)
    return Check("queues", queue, True, waiting + readers, seconds=seconds)


def _check_dead_letters(queue: str, waiting: int) -> Check:
    if waiting:
        advice = "kept, but will not run: celery-dead (make dead) shows them, requeues or drops them"
        return Check("queues", queue, False, f"{waiting} dead-lettered", "warning", advice)
    return Check("queues", queue, True, "empty")
