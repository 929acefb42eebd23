"""Which queues there are besides Celery's own, and which tasks go there. Named by `TASKS_QUEUES`."""

import re
from typing import Any

from kombu import Exchange, Queue

MANY = 100  # numbers

# Queue by queue, so that a task is not sent where nobody reads.
ROUTES: dict[str, list[Any]] = {
    "high": [{"tasks.urgent": {"queue": "high"}}],  # by its name
    "low": [{"tasks.bulk_*": {"queue": "low"}}, "tasks.queues.route_by_size"],  # by a pattern; by a function
    "io": [{re.compile(r"tasks\.((fetch|check)_\w+|webhook|mail)"): {"queue": "io"}}],  # by a regular expression
}


def task_queues(names: list[str], broker_url: str) -> list[Queue]:
    """Return the queues, each with an exchange of its own name, as task_queues wants them.

    Args:
        names: theirs.
        broker_url: RabbitMQ's are quorum queues, which survive a server of a cluster; their exchanges are topics, for
            Celery to let tasks with an ETA wait in the broker. Other brokers have one kind of queue.
    """
    if broker_url.startswith(("amqp", "pyamqp")):
        kind, arguments = "topic", {"x-queue-type": "quorum"}
    else:
        kind, arguments = "direct", None
    return [Queue(name, Exchange(name, kind), routing_key=name, queue_arguments=arguments) for name in names]


def task_routes(names: list[str]) -> list[Any]:
    """Return the routes to these queues, as task_routes wants them: the first that knows a task has it."""
    return [route for name in names for route in ROUTES.get(name, ())]


def route_by_size(name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **_: Any) -> dict[str, str] | None:
    """Send long sums to the queue `low`, so that short ones need not wait for them."""
    if name == "tasks.xsum" and args and len(args[0]) > MANY:
        return {"queue": "low"}
    return None
