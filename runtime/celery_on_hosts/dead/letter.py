"""A dead letter, and what each broker can do with its dead letters."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Protocol

UNREADABLE = "unreadable"

# Headers and properties in which brokers, and the transport for Redis, note the deliveries of a message.
_HISTORY = ("x-death", "x-first-death-", "x-last-death-", "x-delivery-count", "x-acquired-count", "redelivered")


class NotRequeued(Exception):
    """The broker did not accept the message; it is still dead-lettered."""


@dataclass(frozen=True)
class DeadLetter:
    """A message that is dead-lettered.

    Args:
        place: the queue or list that holds it.
        queue: where it came from, or where it was meant to go; empty when nothing tells.
        reason: why it is here.
        deliveries: how often it was delivered before; None when the broker does not say.
        since: when it was dead-lettered, in seconds of the epoch; None when the broker does not say.
        headers: the message's, of the task too.
        properties: the message's.
        body: as it was sent.
        handle: what its broker knows it by in this place.
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
        """The task's id; of a message that is no task its own id, or a digest of it."""
        known = self.headers.get("id") or self.properties.get("correlation_id") or self.properties.get("message_id")
        return str(known or sha256(self.body).hexdigest()[:16])

    @property
    def task(self) -> str:
        """The task's name, empty for a message that is no task."""
        return str(self.headers.get("task") or "")

    def arguments(self) -> tuple[str, str]:
        """Return positional and keyword arguments as text: whole from a JSON body, else as the producer cut them."""
        try:
            args, kwargs, _ = json.loads(self.body)
        except (ValueError, TypeError):
            return str(self.headers.get("argsrepr") or ""), str(self.headers.get("kwargsrepr") or "")
        return repr(args), repr(kwargs)

    def as_json(self) -> dict[str, Any]:
        """Return everything that is known of the message, in types that JSON has; times are in ISO 8601."""
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


class DeadLetters(Protocol):
    """The dead letters of a broker."""

    def count(self) -> int:
        """Return how many there are."""

    def look(self) -> Iterator[DeadLetter]:
        """Go through those that are there now, without removing them."""

    def requeue(self, letter: DeadLetter, queue: str) -> None:
        """Give a message to a queue, and remove it from the dead letters once the broker has it there.

        Raises:
            NotRequeued: there is no such queue, or the queue accepts no message.
        """

    def drop(self, letter: DeadLetter) -> None:
        """Remove a message for good."""

    def close(self) -> None:
        """End the look, so that the messages that are left return to their place."""


def without_history(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message's headers without what brokers noted of its deliveries: all its tries are left."""
    return {name: value for name, value in headers.items() if not name.startswith(_HISTORY)}


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))
