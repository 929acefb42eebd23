"""A transport for Redis that claims a message in one step, so that no crash loses it.

kombu's transport removes a message from its queue with BRPOP and records the delivery in a second command; a worker
that dies in between loses the message. Here a script does both in one step. Everything else is where kombu's transport
has it (lists by queue and priority, ``unacked``, ``unacked_index``), so either transport reads what the other wrote,
Celery's and Redis's tools show what they always show, and one can be changed for the other while tasks wait.

Redis lets no script wait. An idle worker waits for a token beside the queue, which a publish leaves there, and looks
again each second for messages of producers that leave none (``brpop_timeout``, as in kombu's).

A worker confirms its claims three times within ``visibility_timeout``, from a thread, so that this may be short and a
task long. A claim that nobody confirms returns the message to its queue, ``delivery_limit`` times; then the message
is dead-lettered, as are the messages that a worker rejects. Claims of dead processes of the same host end at once when
a worker begins to consume. Times are those of the server's clock.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import uuid
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from queue import Empty
from time import monotonic
from types import MappingProxyType
from typing import Any, ClassVar

from kombu.log import get_logger
from kombu.transport import redis, virtual
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import dumps, loads

from . import own_queues, processes
from .couplings import REDIS_TRANSPORT
from .names import DEAD_LETTERS
from .redis_scripts import ACK, CLAIM, CONFIRM, PUBLISH, RELEASE

REDIS_TRANSPORT.fits()

WAKE = "celery.wake."
WAKE_SECONDS = 60
DELIVERIES = "unacked_deliveries"
HOLDERS = "unacked_holders"
MAX_TAGS = 500  # in one call of a script
ERRORS = tuple(error for errors in redis.get_redis_error_classes() for error in errors)

logger = get_logger(__name__)


class QoS(redis.QoS):
    """The claims of a channel's consumers.

    The object lives on after its channel, with a connection of its own, until the last claim is settled.
    """

    channel: Channel

    def __init__(self, channel: Channel, *args: Any, **kwargs: Any) -> None:
        super().__init__(channel, *args, **kwargs)
        # A connection of its own: a task may end after the connection that delivered it was closed.
        self._client = channel.Client(connection_pool=redis.redis.ConnectionPool(**channel._connparams()))

    def run(self, script: str, *arguments: Any) -> Any:
        """Run one of the scripts on the channel's keys."""
        return self._client.eval(script, 5, *self.channel.keys, *arguments)

    def can_consume(self) -> bool:
        """Return whether to read; always while a claim is in flight: Redis has already assigned its message."""
        return bool(self.channel.claims or super().can_consume())

    def append(self, message: Any, delivery_tag: str) -> None:
        """Remember a message; its claim was recorded by the script."""
        virtual.QoS.append(self, message, delivery_tag)
        _Keeper.watch(self)

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message, later on where the server is away: the task is done and must not run again."""
        try:
            self.settle("done", delivery_tag)
        except ERRORS:
            _Keeper.later.append((self, "done", delivery_tag))
        virtual.QoS.ack(self, delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Return a message to the end of its queue, so that others go first, or dead-letter it."""
        try:
            self.release("requeued" if requeue else "rejected", delivery_tag)
        finally:
            virtual.QoS.ack(self, delivery_tag)

    def settle(self, why: str, *tags: str) -> None:
        """Acknowledge messages that are ``done``, give back those that are ``returned``."""
        self.run(ACK, *tags) if why == "done" else self.release(why, *tags)

    def release(self, why: str, *rest: Any) -> None:
        """Give messages back.

        Args:
            why: ``lost`` and ``left`` (counted), ``requeued`` (counted, to the end), ``returned`` (not counted),
                ``rejected``.
            rest: tags; for ``lost`` the seconds without a confirm after which a message is lost.
        """
        channel = self.channel
        limit = channel.delivery_limit or sys.maxsize
        steps = ",".join(map(str, channel.priority_steps))
        foreign = self.run(RELEASE, why, limit, channel.sep, channel.global_keyprefix, steps, *rest)
        for tag in foreign or ():
            super().restore_by_tag(bytes_to_str(tag))

    def restore_left(self) -> None:
        """Return the messages that dead processes of this host held."""
        holders = self._client.hgetall(self.channel.keys[-1])
        left = [bytes_to_str(tag) for tag, holder in holders.items() if is_gone(bytes_to_str(holder))]
        for some in _batches(left):
            self.release("left", *some)

    def restore_by_tag(self, tag: str, client: Any = None, leftmost: bool = False) -> None:
        """Give back a message that was not begun."""
        self.release("returned", tag)

    def restore_visible(self, *args: Any, **kwargs: Any) -> None:
        """Return the messages that no worker confirmed in time, after confirming our own. kombu calls it on connect."""
        _Keeper.confirm()
        self.release("lost", self.visibility_timeout)

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Give back the messages that were not begun when the channel closes.

        Running tasks keep their claims: they end and are acknowledged, or their process dies and the timeout returns
        their messages.
        """
        self._on_collect.cancel()
        self._flush()
        running = _running()
        waiting = [tag for tag in self._delivered if tag not in running]
        for tag in waiting:
            del self._delivered[tag]
        if not self.channel.do_restore:
            return
        for some in _batches(waiting[::-1]):
            try:
                self.settle("returned", *some)
            except ERRORS:
                _Keeper.later.append((self, "returned", *some))

    def confirm(self) -> None:
        """Confirm to Redis what is held."""
        for some in _batches([tag for tag in tuple(self._delivered) if tag not in self._dirty]):
            self.run(CONFIRM, *some)


class _Keeper:
    """Confirms this process's claims, settles those that could not be settled in time, and returns lost messages.

    From a thread: in a solo worker the main thread is busy while a task runs, and without an event loop (gevent,
    eventlet, threads) kombu would seldom get to it.
    """

    held: ClassVar[weakref.WeakSet[QoS]] = weakref.WeakSet()
    later: ClassVar[deque[tuple[Any, ...]]] = deque()  # QoS, why, tags: to be settled when the server answers
    lock = threading.Lock()
    pid = 0

    @classmethod
    def watch(cls, qos: QoS) -> None:
        if qos not in cls.held or cls.pid != os.getpid():
            with cls.lock:
                if cls.pid == os.getpid():
                    cls.held.add(qos)
                    return
                cls.pid = os.getpid()
                cls.held, cls.later = weakref.WeakSet([qos]), deque()  # the parent confirms its own
                threading.Thread(target=cls.keep, name="celery-on-hosts-redis", daemon=True).start()

    @classmethod
    def keep(cls) -> None:
        pause = threading.Event()
        while True:
            timeouts = [qos.visibility_timeout for qos in tuple(cls.held)]
            pause.wait(1 if cls.later else max(min([30.0, *timeouts]) / 3, 0.1))
            cls.confirm()
            try:
                for qos in tuple(cls.held):
                    if not qos.channel.closed:
                        qos.release("lost", qos.visibility_timeout)
            except ERRORS as error:
                logger.warning("redis: cannot look for lost tasks: %s", error)

    @classmethod
    def confirm(cls) -> None:
        """Settle and confirm as far as the server answers; the rest is tried again the next time."""
        try:
            for _ in range(len(cls.later)):
                qos, why, *tags = late = cls.later.popleft()
                try:
                    qos.settle(why, *tags)
                except BaseException:
                    cls.later.appendleft(late)
                    raise
            for qos in tuple(cls.held):
                qos.confirm()
        except ERRORS as error:
            logger.warning("redis: cannot confirm the tasks in hand, they may run twice: %s", error)


def host() -> str:
    """Return what tells this host from others: its name, and systemd's identity of it."""
    try:
        identity = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except OSError:
        identity = ""
    return f"{socket.gethostname()}.{identity}"


def holder() -> str:
    """Return this process's name as the holder of a message."""
    if _Me.pid != os.getpid():
        _Me.pid, _Me.name = os.getpid(), f"{host()}/{os.getpid()}/{uuid.uuid4().hex}"
    return _Me.name


def is_gone(name: str) -> bool:
    """Return whether a holder was a process of this host that has ended.

    A dead process whose number another process has now is not recognized; the timeout returns its messages.

    Args:
        name: as ``holder`` makes it.
    """
    where, pid, _ = name.rsplit("/", 2)
    if where != host() or name == holder():
        return False
    return pid == str(os.getpid()) or not processes.exists(pid)


class _Me:
    pid = 0
    name = ""
    began_as = 0  # the process that has returned what its predecessors held


def _batches(tags: list[str]) -> Iterator[list[str]]:
    return (tags[start : start + MAX_TAGS] for start in range(0, len(tags), MAX_TAGS))


def _running() -> set[str]:
    """Return the tags of the tasks that run in this worker and will end."""
    state = sys.modules.get("celery.worker.state")
    if state is None or state.should_terminate:
        return set()
    return {request.message.delivery_tag for request in tuple(state.active_requests)}


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
            _Keeper.watch(self.qos)
            if _Me.began_as != os.getpid():
                self.qos.restore_left()
                _Me.began_as = os.getpid()
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
