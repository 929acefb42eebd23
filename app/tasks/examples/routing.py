"""Which queue a task goes to, and which of those that wait comes first.

The routes are in `queues.py`. Without `TASKS_QUEUES` there is one queue, and all of this goes there.
"""

import os
import threading
import time
from typing import Annotated, Any, Literal

from celery import Task, group
from celery.exceptions import QueueNotFound
from celery.result import AsyncResult
from pydantic import Field

from ..celery import app
from ..registry import example
from ..tasks import xsum

Few = Annotated[int, Field(ge=1, le=20)]


def where(task: "Task[Any, Any]") -> dict[str, Any]:
    """Return what a task knows of the place where it runs."""
    info = task.request.delivery_info or {}
    return {
        "exchange": info.get("exchange"),
        "routing_key": info.get("routing_key"),
        "priority": info.get("priority"),
        "worker": task.request.hostname,
        "process": os.getpid(),
        "thread": threading.current_thread().name,
    }


@app.task(bind=True)
def urgent(self: "Task[Any, Any]") -> dict[str, Any]:
    """Tell where it runs: on the queue `high`, where its name is routed to."""
    return where(self)


@app.task(bind=True)
def bulk_copy(self: "Task[Any, Any]") -> dict[str, Any]:
    """Tell where it runs: on the queue `low`, as all that is called `bulk_…`."""
    return where(self)


@app.task(bind=True)
def fetch_slowly(self: "Task[Any, Any]", seconds: float) -> dict[str, Any]:
    """Wait, as for an answer from the network, and tell where: on the queue `io`, as all that is called `fetch_…`."""
    time.sleep(seconds)
    return where(self)


@example()
def route_by_name() -> "AsyncResult[Any]":
    """`task_routes` sends a task to a queue by its name."""
    return urgent.delay()


@example()
def route_by_pattern() -> "AsyncResult[Any]":
    """`task_routes` sends all tasks to a queue whose names fit a pattern."""
    return bulk_copy.delay()


@example()
def route_by_expression() -> "AsyncResult[Any]":
    """`task_routes` sends all tasks to a queue whose names fit a regular expression."""
    return fetch_slowly.delay(1)


@example()
def route_by_function(numbers: Annotated[int, Field(ge=1, le=1000)] = 200) -> "AsyncResult[Any]":
    """A router function decides by the arguments: a sum of more than 100 numbers goes to `low`."""
    return xsum.delay(list(range(numbers)))


@example(raises=QueueNotFound)
def route_by_caller(queue: Literal["celery", "high", "low", "io"] = "celery") -> "AsyncResult[Any]":
    """The caller names the queue, which wins over a route."""
    return urgent.apply_async(queue=queue)


@example()
def exchange_and_key() -> "AsyncResult[Any]":
    """The caller names an exchange and a routing key. They lead to each queue that is bound so.

    A worker binds its queues when it starts, and a caller the one that it names. So name a queue, as a rule: Redis
    drops what an exchange leads nowhere.
    """
    return urgent.apply_async(exchange="celery", routing_key="celery")


def priority(level: int) -> int:
    """Return a level from 0 to 9, 9 being the first, as the broker counts: Redis has them the other way round."""
    return 9 - level if app.connection_for_write().transport.driver_type == "redis" else level


@example()
def priorities(waiting: Few = 8) -> "AsyncResult[Any]":
    """Of the tasks that wait in a queue, those of the highest priority come first.

    The last one overtakes all that no worker has fetched. Redis has four levels, RabbitMQ 4's quorum queues have two,
    RabbitMQ 3's none.
    """
    low, high = priority(0), priority(9)
    tasks = [fetch_slowly.s(1).set(priority=low) for _ in range(waiting)]
    return group([*tasks, fetch_slowly.s(1).set(priority=high)]).apply_async()


@example()
def pool_for_waiting(tasks: Few = 10) -> "AsyncResult[Any]":
    """A worker of threads or gevent waits for many answers at once; of processes it would need one for each.

    With a worker for the queue `io`, `celery -A tasks worker -Q io -P threads -c 20`, it takes a second.
    """
    return group(fetch_slowly.s(1) for _ in range(tasks)).apply_async()
