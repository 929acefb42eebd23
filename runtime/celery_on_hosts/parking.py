"""Where messages are parked that are kept but will not run, on either broker.

RabbitMQ moves a message to the queue ``celery.dead`` when a worker rejects it (a task that nobody knows, ``Reject``)
or its delivery limit is reached, and to ``celery.unroutable`` when its exchange knows no queue for it. On Redis the
transport appends it to the list ``celery.dead``; there is nothing like an unroutable message.

What is unroutable goes on by itself once there is a way: RabbitMQ, as it starts, may move a delayed message on before
it has read its bindings, and a queue may be declared later than its first message was sent.

A message that is put back is with its queue before it leaves the parking place: a crash in between leaves it twice,
never lost.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from threading import Thread
from typing import Any, Protocol

from amqp.exceptions import MessageNacked
from celery import Celery, bootsteps
from celery.utils.log import get_logger
from kombu.transport.virtual.base import Base64

from .config import Platform

DEAD, UNROUTABLE = "celery.dead", "celery.unroutable"
UNREADABLE = "unreadable"
CHUNK = 500  # elements of a list read at once
WINDOW = 1000  # messages sent to a consumer ahead
PATIENCE = 10.0  # seconds until a message that RabbitMQ has said is there arrives

# What RabbitMQ, or the transport, tells about deliveries of a message; a message that is put back starts anew.
_HISTORY = ("x-death", "x-first-death-", "x-last-death-", "x-delivery-count", "x-acquired-count", "redelivered")
# Delayed delivery sends a message through queues of its own, with its delay in bits before the routing key.
_DELAY_QUEUE = "celery_delayed_"
_DELAY_BITS = re.compile(r"^(?:[01]\.){28}")


logger = get_logger(__name__)


class NotPutBack(Exception):
    """The broker did not take the message; it stays parked."""


@dataclass(frozen=True)
class Parked:
    """A message that is parked.

    ``queue`` is where it came from, or where it was meant to go; empty when nothing tells. ``deliveries`` counts how
    often it was delivered before, None when the broker does not say. ``since`` is in seconds of the epoch.
    ``place`` is the queue or list that holds it, ``handle`` what its broker knows it by there.
    """

    place: str
    queue: str
    reason: str
    deliveries: int | None
    since: float | None
    headers: Mapping[str, Any]
    properties: Mapping[str, Any]
    body: bytes
    handle: Any = field(repr=False, compare=False)

    @property
    def id(self) -> str:
        """The task's id; of a message that is no task its own, or a digest of it."""
        known = self.headers.get("id") or self.properties.get("correlation_id") or self.properties.get("message_id")
        return str(known or sha256(self.body).hexdigest()[:16])

    @property
    def task(self) -> str:
        """The task's name, empty for a message that is no task."""
        return str(self.headers.get("task") or "")

    def arguments(self) -> tuple[str, str]:
        """Positional and keyword arguments as text: whole from a JSON body, else as the producer abbreviated them."""
        try:
            args, kwargs, _ = json.loads(self.body)
        except (ValueError, TypeError):
            said = (self.headers.get("argsrepr"), self.headers.get("kwargsrepr"))
            return str(said[0] or ""), str(said[1] or "")
        return repr(args), repr(kwargs)

    def as_json(self) -> dict[str, Any]:
        """Everything that is known of it, in types that JSON has; times are in ISO 8601."""
        args, kwargs = self.arguments()
        return {
            "id": self.id,
            "task": self.task,
            "queue": self.queue,
            "reason": self.reason,
            "deliveries": self.deliveries,
            "since": self.since and datetime.fromtimestamp(self.since, UTC).isoformat(),
            "place": self.place,
            "args": args,
            "kwargs": kwargs,
            "headers": _plain(self.headers),
            "properties": _plain(self.properties),
            "body": self.body.decode(errors="backslashreplace"),
        }


class Parking(Protocol):
    """A broker's parking places."""

    def count(self) -> int:
        """How many messages are parked."""

    def look(self) -> Iterator[Parked]:
        """Go through those that are parked now, without taking them away."""

    def put_back(self, message: Parked, queue: str) -> None:
        """Give a message to a queue, and take it out of the parking place when the broker has it there.

        Raises:
            NotPutBack: there is no such queue, or it takes no message.
        """

    def drop(self, message: Parked) -> None:
        """Take a message out of the parking place for good."""

    def close(self) -> None:
        """Look no more."""


class RabbitMQ:
    """Parking queues.

    What was looked at and not taken away returns to its place when the connection is closed. That counts as one more
    delivery there, so a policy lifts the delivery limit of the parking queues.

    Args:
        connection: kombu's, open.
        platform: whose parking queues.
    """

    def __init__(self, connection: Any, platform: Platform) -> None:
        self._connection = connection
        self._channel = connection.default_channel
        self._channel.basic_qos(0, WINDOW, False)
        self._places = platform.parking_queues
        self._consumers: list[str] = []
        self._gone = 0
        self._returned = False
        self._channel.events["basic_return"].add(self._on_return)

    def _on_return(self, *_: Any) -> None:
        self._returned = True

    def _waiting(self, place: str) -> int:
        return int(self._channel.queue_declare(place, passive=True).message_count)

    def count(self) -> int:
        """See Parking."""
        return sum(self._waiting(place) for place in self._places)

    def look(self) -> Iterator[Parked]:
        """See Parking."""
        for place in self._places:
            arrived: deque[Any] = deque()
            windows = 0
            gone = self._gone
            # Not until it is empty: what is put back may be rejected at once, and come again.
            for seen in range(self._waiting(place)):
                # What stays fills the window of a consumer; a further one is sent more.
                if not arrived and seen - (self._gone - gone) >= windows * WINDOW:
                    self._consumers.append(self._channel.basic_consume(place, callback=arrived.append))
                    windows += 1
                try:
                    while not arrived:
                        self._connection.drain_events(timeout=PATIENCE)
                except TimeoutError:  # somebody else looks at them
                    break
                yield parked_by_rabbitmq(place, arrived.popleft())

    def put_back(self, message: Parked, queue: str) -> None:
        """See Parking."""
        message.handle.properties["application_headers"] = without_history(message.headers)
        self._returned = False
        try:
            self._channel.basic_publish_confirm(message.handle, exchange="", routing_key=queue, mandatory=True)
        except MessageNacked:
            raise NotPutBack(f"the queue {queue} takes no message") from None
        if self._returned:
            raise NotPutBack(f"there is no queue {queue}")
        self.drop(message)

    def send_on(self) -> int:
        """Publish each message of ``celery.unroutable`` as it was published first. What has no way yet comes back.

        Returns:
            how many were tried.
        """
        self._places = (UNROUTABLE,)
        tried = 0
        for message in self.look():
            meant = message.handle.delivery_info
            message.handle.properties["application_headers"] = without_history(message.headers)
            self._channel.basic_publish_confirm(message.handle, meant["exchange"], meant["routing_key"])
            self.drop(message)
            tried += 1
        return tried

    def drop(self, message: Parked) -> None:
        """See Parking."""
        self._channel.basic_ack(message.handle.delivery_tag)
        self._gone += 1

    def close(self) -> None:
        """See Parking."""
        while self._consumers:
            self._channel.basic_cancel(self._consumers.pop())


class Redis:
    """A list, to which the transport appends.

    Args:
        connection: kombu's, open, by whatever transport for Redis.
        platform: whose queues a message may be put back to.
    """

    def __init__(self, connection: Any, platform: Platform) -> None:
        from redis import Redis as Client

        self._channel = connection.default_channel
        self._client = Client(connection_pool=self._channel.pool)
        self._key = self._channel.global_keyprefix + DEAD
        self._queues = platform.queues
        self._gone = 0

    def count(self) -> int:
        """See Parking."""
        return int(self._client.llen(self._key))

    def look(self) -> Iterator[Parked]:
        """See Parking."""
        start, left = 0, self.count()
        while left > 0:
            chunk = self._client.lrange(self._key, start, start + min(left, CHUNK) - 1)
            if not chunk:
                return
            gone = self._gone
            for element in chunk:
                yield parked_by_redis(element)
            left -= len(chunk)
            start += len(chunk) - (self._gone - gone)

    def put_back(self, message: Parked, queue: str) -> None:
        """See Parking."""
        if message.reason == UNREADABLE:
            raise NotPutBack("it is no message")
        if queue not in self._queues:
            raise NotPutBack(f"there is no queue {queue}")
        anew = {
            "delivery_tag": self._channel._next_delivery_tag(),
            "delivery_info": {"exchange": "", "routing_key": queue},
        }
        original = json.loads(message.handle)["message"] | {
            "headers": without_history(message.headers),
            "properties": {**message.properties, **anew},
        }
        # The transport's own last step of a publish: each keeps its queues in a way of its own.
        self._channel._put(queue, original)
        self.drop(message)

    def drop(self, message: Parked) -> None:
        """See Parking."""
        self._gone += self._client.lrem(self._key, 1, message.handle)

    def close(self) -> None:
        """See Parking."""


class SendOn(bootsteps.StartStopStep):
    """A worker's step: each time that it is connected, what was unroutable is tried again, beside its work."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer: Any) -> None:
        """Try, in a thread: there may be many."""
        Thread(target=self._send_on, args=(consumer.app,), name="celery-on-hosts-unroutable", daemon=True).start()

    def _send_on(self, app: Celery) -> None:
        with app.connection_for_write() as connection:
            try:
                if tried := RabbitMQ(connection, app.loader.platform).send_on():
                    logger.warning("%d unroutable messages were sent again", tried)
            except (*connection.connection_errors, *connection.channel_errors, MessageNacked) as error:
                # They are where they were, and the next connection tries again.
                logger.warning("unroutable messages could not be sent again: %s", error)


def parked_by_rabbitmq(place: str, message: Any) -> Parked:
    """Read a message of a parking queue.

    Args:
        place: the parking queue.
        message: as amqp gives it.

    Returns:
        with the latest of its deaths that tells of a queue of tasks. The dead letters of delayed delivery, which is
        made of expiring messages, tell of none.
    """
    properties = {key: value for key, value in message.properties.items() if key != "application_headers"}
    headers = dict(message.properties.get("application_headers") or {})
    headers.pop("x-delivery-count", None)  # of looks at it here, not of deliveries before
    deaths = (death for death in headers.get("x-death") or () if not death["queue"].startswith(_DELAY_QUEUE))
    death = next(deaths, None) if place == DEAD else None
    since = death and death.get("time")
    return Parked(
        place=place,
        queue=death["queue"] if death else _DELAY_BITS.sub("", message.delivery_info["routing_key"]),
        reason=death["reason"] if death else "unroutable",
        deliveries=None,
        since=since.replace(tzinfo=UTC).timestamp() if since else None,
        headers=headers,
        properties=properties,
        body=message.body.encode() if isinstance(message.body, str) else bytes(message.body),
        handle=message,
    )


def parked_by_redis(element: bytes) -> Parked:
    """Read an element of the list of dead letters.

    Args:
        element: a JSON object with the ``message`` as kombu had it, its ``queue``, the ``reason``, the ``count`` of
            its deliveries and the ``time`` at which it was parked.

    Returns:
        what it says; of an element that is nothing like it, just that it is there.
    """
    try:
        entry = json.loads(element)
        message, body = entry["message"], entry["message"]["body"]
        return Parked(
            place=DEAD,
            queue=entry["queue"],
            reason=entry["reason"],
            deliveries=entry["count"],
            since=entry["time"],
            headers=message["headers"],
            properties=message["properties"],
            body=Base64().decode(body) if message["properties"].get("body_encoding") == "base64" else body.encode(),
            handle=element,
        )
    except (ValueError, LookupError, TypeError, AttributeError):
        return Parked(DEAD, "", UNREADABLE, None, None, {}, {}, element, element)


def without_history(headers: Mapping[str, Any]) -> dict[str, Any]:
    """A message's headers without what brokers noted of its deliveries."""
    return {name: value for name, value in headers.items() if not name.startswith(_HISTORY)}


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))
