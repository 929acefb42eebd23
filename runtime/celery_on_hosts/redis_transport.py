"""A transport for Redis that claims a message in one step, so that no crash loses it.

kombu's transport removes a message from its queue with BRPOP and records the delivery in a second command; a worker
that dies in between loses the message. Here a script does both in one step. Everything else is where kombu's transport
has it (lists by queue and priority, ``unacked``, ``unacked_index``), so either transport reads what the other wrote,
Celery's and Redis's tools show what they always show, and one can be changed for the other while tasks wait.

Redis lets no script wait. An idle worker waits for a token beside the queue, which a publish leaves there, and looks
again each second for messages of producers that leave none (``brpop_timeout``, as in kombu's).

What becomes of a claim is in ``redis_claims``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from queue import Empty
from time import monotonic
from types import MappingProxyType
from typing import Any

from kombu.transport import redis
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import dumps, loads

from . import own_queues
from .names import DEAD_LETTERS
from .redis_claims import Keeper, QoS
from .redis_holders import holder
from .redis_scripts import CLAIM, PUBLISH

WAKE = "celery.wake."
WAKE_SECONDS = 60
DELIVERIES = "unacked_deliveries"
HOLDERS = "unacked_holders"


class Channel(redis.Channel):
    """A channel whose consumers claim a message in one step."""

    QoS = QoS

    delivery_limit = 20
    visibility_timeout = 30
    brpop_timeout = 1
    from_transport_options = (*redis.Channel.from_transport_options, "delivery_limit")

    #: Whether a claim is in flight: sent, and its answer not read.
    claims = False
    _empty = False

    # kombu before 5.7 knows neither queues that expire nor credentials that change.
    _expires: Mapping[str, int] = MappingProxyType({})
    if not hasattr(redis.Channel, "_flush_brpop_reauth"):

        def _flush_brpop_reauth(self) -> None: ...
        def _maybe_update_queues_expire(self, client: Any, queue: str) -> None: ...

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._no_ack: set[str] = set()

    @property
    def keys(self) -> list[str]:
        """The keys of the scripts."""
        names = (self.unacked_key, self.unacked_index_key, DELIVERIES, DEAD_LETTERS, HOLDERS)
        return [self.global_keyprefix + name for name in names]

    def basic_consume(self, queue: str, no_ack: bool, *args: Any, **kwargs: Any) -> Any:
        """Consume, and remember which queues are read without acknowledging."""
        (self._no_ack.add if no_ack else self._no_ack.discard)(queue)
        self._empty = False
        if not no_ack:
            Keeper.watch(self.qos)
            self.qos.restore_left()
        return super().basic_consume(queue, no_ack, *args, **kwargs)

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> Any:
        """Return one message, or None where there is none."""
        message = super().basic_get(queue, **kwargs)
        if message is not None and no_ack:
            self.qos.ack(message.delivery_tag)
        return message

    def _get(self, queue: str) -> Any:
        with self.conn_or_acquire() as client:
            claimed = client.eval(CLAIM, *self._arguments([queue], no_ack=()))
            self._maybe_update_queues_expire(client, queue)
        if not claimed:
            raise Empty
        return self._message(claimed)[0]

    def _arguments(self, queues: Iterable[str], no_ack: Iterable[str]) -> Iterator[Any]:
        """Yield the arguments of CLAIM: the first priority of each queue in this order, then the next of each."""
        lists = [(self._q_for_pri(queue, step), queue) for step in self.priority_steps for queue in queues]
        yield 5 + len(lists)
        yield from self.keys
        yield from (self.global_keyprefix + name for name, _ in lists)
        yield holder()
        for _, queue in lists:
            yield queue
            yield int(queue not in no_ack)

    def _message(self, claimed: list[Any]) -> tuple[Any, str]:
        """Return a claimed message, marked where it was delivered before, and its queue."""
        queue, text, deliveries = claimed
        message = loads(bytes_to_str(text))
        if int(deliveries):
            message["properties"].setdefault("delivery_info", {})["redelivered"] = True
            message["headers"] = {**(message.get("headers") or {}), "redelivered": True}
        return message, bytes_to_str(queue)

    def _brpop_start(self, timeout: float | None = None) -> None:
        """Send a claim, or wait for a token when the last claim found nothing. kombu calls this, then _brpop_read."""
        queues = self._queue_cycle.consume(len(self.active_queues))
        if not queues:
            return
        command: list[Any]
        if self._empty:
            wait = self.brpop_timeout if timeout is None else timeout
            command = ["BZPOPMIN", *(self._token(queue) for queue in queues), wait or 0]
        else:
            command = ["EVAL", CLAIM, *self._arguments(queues, self._no_ack)]
        self.claims = not self._empty
        self._in_poll = self.client.connection
        self._brpop_sent_at = monotonic()
        self.client.connection.send_command(*command)

    def _brpop_read(self, **options: Any) -> bool:
        """Read the answer and deliver its message.

        Raises:
            Empty: there was no message; the next _brpop_start decides what to do.
        """
        try:
            answer = self.client.parse_response(self.client.connection, "EVAL", **options)
        except self.connection_errors:
            self.client.connection.disconnect()
            raise
        finally:
            claimed, self.claims = self.claims, False
            self._in_poll = None
            self._flush_brpop_reauth()
        self._empty = claimed and not answer
        if not claimed or not answer:
            raise Empty
        message, queue = self._message(answer)
        self._queue_cycle.rotate(queue)
        self.connection._deliver(message, queue)
        return True

    def _on_connection_disconnect(self, connection: Any) -> None:
        if self._in_poll is connection:
            self.claims = False
        super()._on_connection_disconnect(connection)

    def typeof(self, exchange: str, default: str = "direct") -> Any:
        """Return the type of an exchange, which this process need not have declared."""
        return super().typeof(exchange, "fanout" if exchange in own_queues.fanouts else default)

    def _queue_bind(self, exchange: str, routing_key: str, *args: Any) -> None:
        super()._queue_bind(exchange, "" if exchange in own_queues.fanouts else routing_key, *args)

    def _put_fanout(self, exchange: str, message: Any, routing_key: str, **kwargs: Any) -> None:
        """Publish to each worker: the routing key of a broadcast counts for nothing."""
        super()._put_fanout(exchange, message, "" if exchange in own_queues.fanouts else routing_key, **kwargs)

    def _token(self, queue: str) -> str:
        return f"{self.global_keyprefix}{WAKE}{queue}"

    def _put(self, queue: str, message: Any, **kwargs: Any) -> None:
        """Publish a message, and wake a worker that waits."""
        if kwargs.get("_publish_batch") is not None or queue in self._expires:
            super()._put(queue, message, **kwargs)
            return
        key = self._q_for_pri(queue, self._get_message_priority(message, reverse=False))
        with self.conn_or_acquire() as client:
            client.eval(PUBLISH, 2, f"{self.global_keyprefix}{key}", self._token(queue), dumps(message), WAKE_SECONDS)


class Transport(redis.Transport):
    """kombu's transport for ``redis://`` and ``rediss://``, with claims in one step."""

    Channel = Channel
