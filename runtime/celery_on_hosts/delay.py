"""Delays on RabbitMQ's quorum queues for a Celery before 5.5, which knows nothing of them.

Such a Celery sends a task with an ETA straight to the task's queue. A worker receives the message, raises its prefetch
count by one, and holds the message until it is due. On quorum queues a worker cannot raise its prefetch count (RabbitMQ
refuses the flag ``global``), so a few waiting tasks would block the worker.

Here the message waits in RabbitMQ, in the exchanges and queues that Celery has used since 5.5: level N holds a message
for 2**N seconds, and the message's routing key says, level by level, whether to wait. Their names and arguments are the
same, so that an application may go from one version to the other while messages wait.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from math import ceil
from typing import Any

from celery import Celery, bootsteps
from celery.app.amqp import AMQP
from celery.utils.log import get_logger
from kombu import Exchange, Queue

from .couplings import DELAYS_OF_OLD
from .upstream import is_before, replace

LEVELS = 28
LONGEST = 2**LEVELS - 1  # seconds: more than eight years
DELIVERY = "celery_delayed_delivery"

logger = get_logger(__name__)


def is_ours() -> bool:
    """Return whether the installed Celery leaves delays to this module."""
    return is_before("celery", "5.5")


def can_delay(queue: Queue) -> bool:
    """Return whether RabbitMQ can hold a queue's tasks until they are due."""
    return is_quorum(queue) and bool(queue.exchange) and queue.exchange.type != "direct"


def is_quorum(queue: Queue) -> bool:
    """Return whether a queue is declared as a quorum queue."""
    return bool((queue.queue_arguments or {}).get("x-queue-type") == "quorum")


def uses_quorum_queues(app: Celery) -> bool:
    """Return whether a queue of an application is a quorum queue."""
    return any(is_quorum(queue) for queue in app.amqp.queues.values())


def level(number: int) -> str:
    """Return the name of the exchange and of the queue of a level."""
    return f"celery_delayed_{number}"


def delayed_key(seconds: int, routing_key: str) -> str:
    """Return the routing key with which a message that is sent to the highest level arrives after some seconds."""
    return ".".join([*f"{min(max(seconds, 1), LONGEST):0{LEVELS}b}", routing_key])


def declare(connection: Any, queues: list[Queue], queue_type: str = "quorum") -> None:
    """Declare the levels, and let delayed messages reach some queues. Idempotent.

    Args:
        connection: to the broker.
        queues: the queues, each with a topic exchange.
        queue_type: of the levels.
    """
    with connection.channel() as channel:
        exchanges = [Exchange(level(number), type="topic").bind(channel) for number in range(LEVELS)]
        out = Exchange(DELIVERY, type="topic").bind(channel)
        for exchange in (*exchanges, out):
            exchange.declare()
        for number, exchange in enumerate(exchanges):
            following = exchanges[number - 1] if number else out
            arguments = {
                "x-queue-type": queue_type,
                "x-overflow": "reject-publish",
                "x-message-ttl": 2**number * 1000,
                "x-dead-letter-exchange": following.name,
            }
            if queue_type == "quorum":
                arguments["x-dead-letter-strategy"] = "at-least-once"
            passed = "*." * (LEVELS - 1 - number)  # the digits of the levels above
            Queue(exchange.name, exchange, f"{passed}1.#", queue_arguments=arguments).bind(channel).declare()
            following.bind_to(exchange, routing_key=f"{passed}0.#")
        for queue in queues:
            key = f"#.{queue.routing_key}"
            queue.exchange.bind(channel).bind_to(out, routing_key=key)
            queue.bind(channel).bind_to(queue.exchange, routing_key=key)


class Declare(bootsteps.StartStopStep):
    """The worker's step that declares the levels each time that the worker connects: the broker may be a new one."""

    requires = ("celery.worker.consumer.connection:Connection",)

    def start(self, consumer: Any) -> None:
        """Declare them."""
        app = consumer.app
        with app.connection_for_write() as connection:
            try:
                declare(connection, [queue for queue in app.amqp.queues.values() if can_delay(queue)])
            except connection.channel_errors as error:
                logger.error("the queues for delayed messages cannot be declared: %s", error)


def install() -> None:
    """Send delayed tasks of this process by the levels. Idempotent."""
    if DELAYS_OF_OLD.fits():
        replace(AMQP, "_create_task_sender", _send_later)


def _send_later(create_task_sender: Callable[[Any], Callable[..., Any]]) -> Callable[[Any], Callable[..., Any]]:
    @wraps(create_task_sender)
    def _create_task_sender(self: Any) -> Callable[..., Any]:
        send = create_task_sender(self)

        @wraps(send)
        def send_task_message(producer: Any, name: str, message: Any, **options: Any) -> Any:
            seconds = _remaining(message.headers)
            queue = _destination(self.queues, options) if seconds > 0 else None
            if queue is not None:
                routing_key = options.get("routing_key") or queue.routing_key
                options |= {"exchange": level(LEVELS - 1), "exchange_type": "topic", "queue": None}
                options["routing_key"] = delayed_key(ceil(seconds), routing_key)
            return send(producer, name, message, **options)

        return send_task_message

    return _create_task_sender


def _remaining(headers: Any) -> float:
    """Return the seconds until a message is due; 0 where its task has no ETA."""
    eta = (headers or {}).get("eta")
    if not eta:
        return 0.0
    due = datetime.fromisoformat(eta)
    return (due.replace(tzinfo=due.tzinfo or UTC) - datetime.now(UTC)).total_seconds()


def _destination(queues: Any, options: Any) -> Queue | None:
    """Return the queue that a message is sent to, where RabbitMQ can delay the message."""
    queue, exchange = options.get("queue"), options.get("exchange")
    if isinstance(queue, str):
        queue = queues.get(queue)
    if queue is None and exchange:
        sought = (getattr(exchange, "name", exchange), options.get("routing_key"))
        queue = next((one for one in queues.values() if (one.exchange.name, one.routing_key) == sought), None)
    return queue if queue is not None and can_delay(queue) else None
