"""The dead letters of RabbitMQ, in queues that it fills itself."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from datetime import UTC
from typing import Any

from amqp.exceptions import MessageNacked

from ..names import DEAD_LETTER_QUEUES, DEAD_LETTERS, UNROUTABLE
from .letter import DeadLetter, NotRequeued, without_history

WINDOW = 1000  # messages that a consumer is sent ahead
PATIENCE = 10.0  # seconds until a message arrives that RabbitMQ has said is there

# Delayed delivery sends a message through queues of its own, with its delay in bits before the routing key.
_DELAY_QUEUE = "celery_delayed_"
_DELAY_BITS = re.compile(r"^(?:[01]\.){28}")


class RabbitMQ:
    """Looks into the dead-letter queues.

    What was looked at and not removed returns to its place when the connection is closed. RabbitMQ counts that as one
    more delivery, so a policy lifts the delivery limit of these queues.

    Args:
        connection: kombu's, open.
        places: the queues to look into.
    """

    def __init__(self, connection: Any, places: tuple[str, ...] = DEAD_LETTER_QUEUES) -> None:
        self._connection = connection
        self._channel = connection.default_channel
        self._channel.basic_qos(0, WINDOW, False)
        self._places = places
        self._consumers: list[str] = []
        self._removed = 0
        self._returned = False
        self._channel.events["basic_return"].add(self._on_return)

    def _on_return(self, *_: Any) -> None:
        self._returned = True

    def _waiting(self, place: str) -> int:
        return int(self._channel.queue_declare(place, passive=True).message_count)

    def count(self) -> int:
        """See DeadLetters."""
        return sum(self._waiting(place) for place in self._places)

    def look(self) -> Iterator[DeadLetter]:
        """See DeadLetters."""
        for place in self._places:
            arrived: deque[Any] = deque()
            windows, removed = 0, self._removed
            # As many as there were, not until the queue is empty: a worker may reject again what is requeued.
            for seen in range(self._waiting(place)):
                # Messages that stay fill the window of a consumer; a further consumer is sent more.
                if not arrived and seen - (self._removed - removed) >= windows * WINDOW:
                    self._consumers.append(self._channel.basic_consume(place, callback=arrived.append))
                    windows += 1
                try:
                    while not arrived:
                        self._connection.drain_events(timeout=PATIENCE)
                except TimeoutError:  # somebody else holds them to look at
                    break
                yield read(place, arrived.popleft())

    def requeue(self, letter: DeadLetter, queue: str) -> None:
        """See DeadLetters."""
        letter.handle.properties["application_headers"] = without_history(letter.headers)
        self._returned = False
        try:
            self._channel.basic_publish_confirm(letter.handle, exchange="", routing_key=queue, mandatory=True)
        except MessageNacked:
            raise NotRequeued(f"the queue {queue} accepts no message") from None
        if self._returned:
            raise NotRequeued(f"there is no queue {queue}")
        self.drop(letter)

    def publish_again(self) -> int:
        """Publish each message as it was published first. A message without a route returns to ``celery.unroutable``.

        Returns:
            how many messages were published.

        Raises:
            MessageNacked: the broker accepts no message now.
        """
        published = 0
        for letter in self.look():
            meant = letter.handle.delivery_info
            letter.handle.properties["application_headers"] = without_history(letter.headers)
            self._channel.basic_publish_confirm(letter.handle, meant["exchange"], meant["routing_key"])
            self.drop(letter)
            published += 1
        return published

    def drop(self, letter: DeadLetter) -> None:
        """See DeadLetters."""
        self._channel.basic_ack(letter.handle.delivery_tag)
        self._removed += 1

    def close(self) -> None:
        """See DeadLetters."""
        while self._consumers:
            self._channel.basic_cancel(self._consumers.pop())


def unroutable(connection: Any) -> RabbitMQ:
    """Look only into the queue of unroutable messages."""
    return RabbitMQ(connection, (UNROUTABLE,))


def read(place: str, message: Any) -> DeadLetter:
    """Read a message of a dead-letter queue.

    Args:
        place: the queue.
        message: as amqp gives it.

    Returns:
        with the latest of its deaths that tells of a queue of tasks. The queues of delayed delivery, which consists of
        expiring messages, tell of none.
    """
    properties = {key: value for key, value in message.properties.items() if key != "application_headers"}
    headers = dict(message.properties.get("application_headers") or {})
    headers.pop("x-delivery-count", None)  # of looks at it here, not of deliveries before
    deaths = (death for death in headers.get("x-death") or () if not death["queue"].startswith(_DELAY_QUEUE))
    death = next(deaths, None) if place == DEAD_LETTERS else None
    since = death and death.get("time")
    return DeadLetter(
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
