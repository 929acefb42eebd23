# SPDX-License-Identifier: MIT
"""Check the names of queues, that each queue is read, and that what is read is a queue."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.module_utils.names import DEAD_QUEUE, UNROUTABLE_QUEUE

from .problem import Problem, suggest
from .values import Variables

QUEUE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,199}\Z")
RESERVED = (DEAD_QUEUE, UNROUTABLE_QUEUE)


def check_queue_names(where: str, queues: Any) -> Iterator[Problem]:
    """Check a list of queues.

    Args:
        where: the variable that holds the list.
        queues: what it holds.
    """
    if not isinstance(queues, list) or not queues:
        yield Problem(where, repr(queues), "a list of at least one queue, such as [celery]")
        return
    for queue in queues:
        if not isinstance(queue, str) or not QUEUE.match(queue) or queue.startswith("amq."):
            allowed = "up to 200 letters, digits, _ . : and -, where neither . : - nor amq. comes first"
            yield Problem(where, repr(queue), allowed)
        elif queue in RESERVED or queue.startswith("celery_delayed_"):
            yield Problem(where, queue, "a name that the platform does not use itself", "Rename the queue.")
        elif queues.count(queue) > 1:
            yield Problem(where, f"{queue} more than once", "each queue once")


def check_queues(variables: Variables, readers: Sequence[Mapping[str, Any]], listed: bool) -> Iterator[Problem]:
    """Check that each queue is read, and that what is read is a queue.

    Args:
        variables: a host's variables.
        readers: the workers of all hosts.
        listed: whether the user set celery_queues.
    """
    queues = variables.get("celery_queues")
    if queues is None:
        return
    yield from check_queue_names("celery_queues", queues)
    names = _texts(queues)
    read = {queue: worker.get("name") for worker in readers for queue in _texts(worker.get("queues"))}
    for queue in names:
        if queue not in read:
            yield Problem(
                "celery_queues",
                f"{queue}, which no worker reads",
                f"queues that a worker reads: {', '.join(sorted(read)) or 'none'}",
                suggest(queue, read, f"Add {queue} to the queues of a worker in celery_workers."),
            )
    for queue, worker in read.items():
        if listed and queue not in names:
            yield Problem(
                f"celery_workers: {worker}: queues",
                f"{queue}, which celery_queues lacks",
                ", ".join(names),
                suggest(queue, names, f"Add {queue} to celery_queues."),
            )
    if variables.get("celery_broker") == "rabbitmq":
        yield from _check_delayed(names)


def _check_delayed(names: Sequence[str]) -> Iterator[Problem]:
    """Check that RabbitMQ can tell the delayed tasks of all queues apart."""
    for longer in names:
        for shorter in names:
            if longer.endswith(f".{shorter}"):
                yield Problem(
                    "celery_queues",
                    f"{longer} beside {shorter}",
                    "on RabbitMQ, no queue whose name ends with a dot and another queue's name",
                    f"Rename one: delayed tasks of {longer} would reach {shorter} too.",
                )


def _texts(value: Any) -> list[str]:
    """Return the items of a list that are texts; none where it is no list."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
