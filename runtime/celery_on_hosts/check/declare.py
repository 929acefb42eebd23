"""Declare the application's queues at the broker before anything is sent."""

from __future__ import annotations

import re
from typing import Any

from celery import Celery
from kombu.entity import Exchange, Queue

from .. import delay, own_queues
from ..loader import platform_queues
from ..names import DEAD_LETTER_QUEUES
from ..platform_file import Platform


def declare(app: Celery, platform: Platform, timeout: float = 120.0) -> list[str]:
    """Declare every queue, exchange and binding, so that no producer meets a missing one. Idempotent.

    Args:
        app: the imported application.
        platform: what it is to run on.
        timeout: seconds to wait for the broker, which may be starting.

    Returns:
        the names of the queues.

    Raises:
        OperationalError: the broker cannot be reached.
        amqp.exceptions.PreconditionFailed: a queue exists with other arguments.
    """
    known = own_queues.declared(app)
    shared = [queue for queue in known.values() if own_queues.is_broadcast(queue)]
    queues = {queue.name: queue for queue in platform_queues(platform)} | known
    queues = {name: queue for name, queue in queues.items() if not own_queues.is_broadcast(queue)}
    with app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=None, timeout=timeout, interval_start=0.2, interval_max=1)
        channel = connection.default_channel
        for queue in [*dead_letter_queues(platform), *queues.values()]:
            queue.bind(channel).declare()
        for queue in shared:  # each worker makes its own queue of a broadcast
            queue.exchange.bind(channel).declare()
        delaying = [queue for queue in queues.values() if delay.can_delay(queue)]
        if connection.transport.driver_type == "amqp" and delaying:
            _declare_delays(app, connection, delaying)
            for queue in shared:  # Celery's worker leaves out broadcasts, whose tasks with an ETA would be unroutable
                exchange = queue.exchange.bind(channel)
                exchange.bind_to(delay.DELIVERY, routing_key=f"#.{queue.routing_key}")
    return sorted(queues)


def dead_letter_queues(platform: Platform) -> list[Queue]:
    """Describe the dead-letter queues of a RabbitMQ that the platform does not run; none for other brokers.

    To look at a dead-lettered message counts as a delivery, so the queues' delivery limit is as high as it can be.
    """
    if platform.broker != "rabbitmq" or platform.managed_broker:
        return []
    arguments = {"x-queue-type": "quorum", "x-delivery-limit": 2**31 - 1}
    return [
        Queue(name, Exchange(name, type="fanout"), routing_key="", queue_arguments=arguments)
        for name in DEAD_LETTER_QUEUES
    ]


def _declare_delays(app: Celery, connection: Any, queues: list[Any]) -> None:
    """Declare what RabbitMQ keeps delayed messages in, and let them reach some queues."""
    queue_type = app.conf.get("broker_native_delayed_delivery_queue_type") or "quorum"
    if delay.is_ours():
        delay.declare(connection, queues, queue_type)
        return
    from kombu.transport import native_delayed_delivery as native

    native.declare_native_delayed_delivery_exchanges_and_queues(connection, queue_type)
    for queue in queues:
        native.bind_queue_to_native_delayed_delivery_exchange(connection, queue)


_INEQUIVALENT = re.compile(
    r"inequivalent arg '(?P<argument>[^']+)' for (?P<kind>exchange|queue) '(?P<name>[^']+)'.*?"
    r"received (?P<wanted>.+?) but current is (?P<found>[^\n]+)"
)


def explain(app: str, error: str) -> str:
    """Say what to do about a queue or an exchange that exists with other arguments.

    Args:
        app: what ``celery -A`` takes.
        error: what the broker said.
    """
    match = _INEQUIVALENT.search(error)
    if not match:
        advice = "One of that name exists with other arguments. Use a new name, or empty it and delete it."
        return f"the broker refuses a queue or exchange: {error} {advice}"
    kind, name = match["kind"], match["name"]
    refused = (
        f"the {kind} {name!r} exists with {match['argument']} {match['found']}, and this release wants "
        f"{match['wanted']}: RabbitMQ cannot change it."
    )
    if kind == "exchange":
        return (
            f"{refused}\nGive the queue an exchange of another name, such as Exchange('{name}.topic', type='topic'): "
            "the queue keeps its messages, and the previous release goes on working.\nWhere the application does not "
            f"name the exchange, delete it on a host (celery -A {app} amqp exchange.delete {name} false) and deploy "
            "again at once: until then each publish to it raises an error."
        )
    return (
        f"{refused}\nUse a new name for the queue. Or let its workers empty it, stop what sends to it, delete it on a "
        f"host (celery -A {app} amqp queue.delete {name} false false), which drops what is still in it, and deploy "
        "again."
    )
