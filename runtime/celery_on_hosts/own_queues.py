"""Queues that an application declares itself (``task_queues``), beside those of the platform."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from kombu.entity import Queue

if TYPE_CHECKING:
    from celery import Celery

# The exchanges of broadcasts. Celery does not declare a broadcast where a task is sent, so that kombu's Redis transport
# takes its exchange for a direct one, and puts the message into a list that nobody reads.
fanouts: set[str] = set()


def is_broadcast(queue: Any) -> bool:
    """Return whether a queue is kombu's ``Broadcast``: each worker has a queue of its own, and gets each message."""
    from kombu.common import Broadcast  # not before gevent or eventlet have patched what it imports

    return isinstance(queue, Broadcast)


def name_of(queue: Queue) -> str:
    """Return the name that ``-Q`` and routes know a queue by: of a broadcast the alias, its own name is random."""
    return str((is_broadcast(queue) and queue.alias) or queue.name)


def declared(app: Celery) -> dict[str, Queue]:
    """Return the queues that the application knows, by the name that ``-Q`` takes."""
    return {name_of(queue): queue for queue in app.amqp.queues.values()}


def broadcasts(app: Celery) -> set[str]:
    """Return the names of the application's broadcast queues."""
    return {name for name, queue in declared(app).items() if is_broadcast(queue)}


def complete(own: Any, platforms: Iterable[Queue]) -> Any:
    """Return an application's ``task_queues`` with the queues of the platform that it lacks.

    Under plain Celery a worker makes a queue that it is told to read and that is not among ``task_queues``. A broadcast
    gets a routing key of its own: with the default one, tasks for the default queue that wait for their ETA in RabbitMQ
    would reach each worker.

    Args:
        own: a list of queues, or a mapping of names to queues or to their options.
        platforms: the queues of the platform.
    """
    ours = {queue.name: queue for queue in platforms}
    if isinstance(own, Mapping):
        own = {name: queue if isinstance(queue, Queue) else _from_options(name, queue) for name, queue in own.items()}
    known = set(own) if isinstance(own, Mapping) else set()
    for queue in own.values() if isinstance(own, Mapping) else own:
        known.add(name_of(queue))
        if name_of(queue) in ours and not is_broadcast(queue):
            _keep_dead_letters(queue, ours[name_of(queue)])
        if is_broadcast(queue):
            queue.routing_key = queue.routing_key or name_of(queue)
            fanouts.add(queue.exchange.name)
    missing = [queue for name, queue in ours.items() if name not in known]
    if isinstance(own, Mapping):
        return {**own, **{queue.name: queue for queue in missing}}
    return [*own, *missing]


def _from_options(name: str, options: Mapping[str, Any]) -> Queue:
    """Return the queue that Celery makes of a queue's options (``celery.app.amqp.Queues.add_compat``)."""
    return Queue.from_dict(name, **{"routing_key": options.get("binding_key"), **options})


def _keep_dead_letters(queue: Queue, ours: Queue) -> None:
    """Let an application's queue dead-letter as the platform's queue of that name does, where no policy sees to it.

    Args:
        queue: the application's; its own arguments stay.
        ours: the platform's. On a RabbitMQ that the platform runs, it has no arguments for dead letters.
    """
    arguments, theirs = ours.queue_arguments or {}, queue.queue_arguments or {}
    if "x-dead-letter-exchange" not in arguments:
        return
    # A classic queue refuses what only quorum queues have.
    quorum = theirs.get("x-queue-type") == "quorum"
    taken = [name for name in arguments if quorum or name in ("x-dead-letter-exchange", "x-overflow")]
    queue.queue_arguments = {name: arguments[name] for name in taken if name != "x-queue-type"} | theirs
    if queue.exchange and queue.exchange.name:
        queue.exchange.arguments = (ours.exchange.arguments or {}) | (queue.exchange.arguments or {})
