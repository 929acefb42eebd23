"""Check that each queue that tasks are sent to is read, and that RabbitMQ keeps it safe."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from celery import Celery
from celery.app.routes import MapRoute
from celery.exceptions import QueueNotFound
from kombu.entity import Queue

from .. import own_queues
from ..platform_file import Platform
from .report import Report, first_few, is_builtin


def check(app: Celery, platform: Platform, report: Report) -> None:
    """Compare the queues of routes, tasks, schedule and settings with those that workers read."""
    for source, queue in [*_of_settings(app), *_of_tasks(app, report), *_of_schedule(app, report)]:
        report.routes[queue].add(source)
    read = ", ".join(platform.queues)
    for queue, sources in sorted(report.routes.items()):
        if queue not in platform.queues:
            report.errors.append(
                f"no worker reads queue {queue!r}, which {first_few(sources)} uses. Queues that are read: {read}. "
                f"Add {queue!r} to the queues of an entry of celery_workers, or correct the route."
            )
    known = own_queues.declared(app)
    for program in platform.programs:
        for queue in program.queues:
            if queue not in known:
                report.errors.append(
                    f"worker {program.program} reads queue {queue!r}, which is not among the application's own "
                    "task_queues, set after its configuration was read. Remove task_queues from the application, the "
                    f"platform declares its queues itself, or add {queue!r} to it."
                )
    _check_bindings(known, report)
    if platform.broker == "redis" and platform.redis_transport == "stock":
        report.errors += [
            f"{name} is a broadcast, whose messages kombu's stock transport leaves where no worker reads. Remove "
            "celery_redis_transport from the inventory: atomic delivers them."
            for name in sorted(own_queues.broadcasts(app))
        ]
    if platform.broker == "rabbitmq":
        for name, declared in sorted(known.items()):
            if not own_queues.is_broadcast(declared):
                _check_on_rabbitmq(app, name, declared, report)


def _of_settings(app: Celery) -> Iterator[tuple[str, str]]:
    """Every (setting, queue) of the application's settings."""
    yield "task_default_queue", app.conf.task_default_queue
    for name in own_queues.declared(app):
        yield "task_queues", name
    for router in app.amqp.routes:
        if isinstance(router, MapRoute):
            for pattern, route in [*router.map.items(), *((p.pattern, r) for p, r in router.patterns.items())]:
                queue = _queue_name(route)
                if queue:
                    yield f"task_routes[{pattern}]", queue


def _of_tasks(app: Celery, report: Report) -> Iterator[tuple[str, str]]:
    """Every (task, queue) that is known without the arguments of a call."""
    for name, task in sorted(app.tasks.items()):
        if is_builtin(name):
            continue
        options = {key: value for key, value in task._get_exec_options().items() if value is not None}
        if options.get("queue"):
            yield f"task {name}", _queue_name(options)
            continue
        try:
            route = app.amqp.router.route(options, name, task_type=task)
        except QueueNotFound:
            continue  # a name in task_routes, which _of_settings has seen
        except Exception as error:
            found, consequence = f"the router of task {name} needs its arguments to decide", f"not checked ({error!r})"
            report.warn("task_routes", found, consequence, "See that workers read each queue that it may return.")
            continue
        if route.get("queue"):
            yield f"task {name}", _queue_name(route)


def _of_schedule(app: Celery, report: Report) -> Iterator[tuple[str, str]]:
    """Every (entry, queue) of beat's schedule."""
    for name, entry in sorted((app.conf.beat_schedule or {}).items()):
        if not isinstance(entry, dict):
            continue
        queue = _queue_name(entry.get("options") or {})
        if queue:
            yield f"beat_schedule[{name}]", queue
        if entry.get("task") not in app.tasks:
            report.warn(
                "beat_schedule",
                f"beat_schedule[{name}] sends {entry.get('task')!r}, a task that this application does not define",
                "each of its messages is dead-lettered, unless workers of another application read its queue",
                "Correct the name, or remove the entry.",
            )


def _queue_name(route: Any) -> str:
    queue = route if isinstance(route, str) else dict(route).get("queue") or ""
    return own_queues.name_of(queue) if isinstance(queue, Queue) else str(queue)


def _check_bindings(known: Mapping[str, Queue], report: Report) -> None:
    """Report queues that get each other's messages."""
    bound: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, queue in sorted(known.items()):
        if queue.exchange and queue.exchange.name and not own_queues.is_broadcast(queue):
            bound[queue.exchange.name, str(queue.routing_key)].append(name)
    for (exchange, key), names in sorted(bound.items()):
        if len(names) > 1:
            report.warn(
                "task_queues",
                f"queues {', '.join(names)} are bound to the exchange {exchange!r} by the same key, {key!r}",
                "a task that is sent to one of them runs from each of them",
                "Give each queue of task_queues a routing_key, and an exchange of its own name.",
            )


def _check_on_rabbitmq(app: Celery, name: str, queue: Queue, report: Report) -> None:
    arguments = queue.queue_arguments or {}
    quorum = arguments.get("x-queue-type") == "quorum"
    if not quorum:
        report.warn(
            "task_queues",
            f"queue {name!r} of the application's own task_queues is not a quorum queue",
            "its deliveries are not counted, so that a task that kills its worker is delivered again without end, and "
            "its ETA tasks wait in a worker",
            f"Leave {name!r} out of task_queues: the platform declares the queues that its workers read. Or give it "
            f"Exchange('{name}.topic', type='topic') and queue_arguments={{'x-queue-type': 'quorum'}}.",
        )
    elif queue.max_priority is not None or "x-max-priority" in arguments:
        report.errors.append(
            f"queue {name!r} has a maximum priority, which RabbitMQ refuses on a quorum queue. "
            "Remove task_queue_max_priority; RabbitMQ 4 gives quorum queues two priorities without it."
        )
    if quorum and queue.exchange and queue.exchange.type == "direct":
        report.warn(
            "exchanges",
            f"queue {name!r} has the direct exchange {queue.exchange.name!r}",
            "its ETA tasks occupy a worker until they are due",
            f"Use a topic exchange of another name, Exchange('{name}.topic', type='topic'): RabbitMQ cannot change the "
            "type of an exchange that exists.",
        )
    for other in sorted(app.amqp.queues):
        if other.endswith(f".{name}"):
            report.errors.append(
                f"queue {other!r} ends in the name of queue {name!r}: a task with an ETA for the first would "
                "also run from the second. Rename one."
            )
