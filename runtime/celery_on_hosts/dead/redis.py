"""The dead letters of Redis: a list, to which the transport appends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

from kombu.transport.virtual.base import Base64

from ..couplings import REDIS_QUEUES
from ..names import DEAD_LETTERS
from ..platform_file import Platform
from .letter import UNREADABLE, DeadLetter, NotRequeued, without_history

CHUNK = 500  # elements that are read at once


class Redis:
    """Looks into the list of dead letters.

    Args:
        connection: kombu's, open, with either transport for Redis.
        platform: whose queues a message may be requeued to.

    Raises:
        UnknownUpstream: kombu's transport differs too much from those that the runtime was tested with.
    """

    def __init__(self, connection: Any, platform: Platform) -> None:
        from redis import Redis as Client

        REDIS_QUEUES.fits()
        self._channel = connection.default_channel
        self._client = Client(connection_pool=self._channel.pool)
        self._key = self._channel.global_keyprefix + DEAD_LETTERS
        self._queues = platform.queues
        self._removed = 0

    def count(self) -> int:
        """See DeadLetters."""
        return int(self._client.llen(self._key))

    def look(self) -> Iterator[DeadLetter]:
        """See DeadLetters."""
        start, left = 0, self.count()
        while left > 0:
            # bytes: the connections of kombu's transport do not decode
            chunk = cast("list[bytes]", self._client.lrange(self._key, start, start + min(left, CHUNK) - 1))
            if not chunk:
                return
            removed = self._removed
            for element in chunk:
                yield read(element)
            left -= len(chunk)
            start += len(chunk) - (self._removed - removed)

    def requeue(self, letter: DeadLetter, queue: str) -> None:
        """See DeadLetters."""
        if letter.reason == UNREADABLE:
            raise NotRequeued("it is no message")
        if queue not in self._queues:
            raise NotRequeued(f"there is no queue {queue}")
        anew = {
            "delivery_tag": self._channel._next_delivery_tag(),
            "delivery_info": {"exchange": "", "routing_key": queue},
        }
        original = json.loads(letter.handle)["message"] | {
            "headers": without_history(letter.headers),
            "properties": {**letter.properties, **anew},
        }
        # The last step of a publish: each transport keeps its queues in its own way.
        self._channel._put(queue, original)
        self.drop(letter)

    def drop(self, letter: DeadLetter) -> None:
        """See DeadLetters."""
        self._removed += self._client.lrem(self._key, 1, letter.handle)

    def close(self) -> None:
        """See DeadLetters."""


def read(element: bytes) -> DeadLetter:
    """Read an element of the list.

    Args:
        element: a JSON object with the ``message`` as kombu had it, its ``queue``, the ``reason``, the ``count`` of
            its deliveries and the ``time`` at which it was dead-lettered.

    Returns:
        what the element says; UNREADABLE and its bytes where it is something else.
    """
    try:
        entry = json.loads(element)
        message, body = entry["message"], entry["message"]["body"]
        return DeadLetter(
            place=DEAD_LETTERS,
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
        return DeadLetter(DEAD_LETTERS, "", UNREADABLE, None, None, {}, {}, element, element)
