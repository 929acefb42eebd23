"""The claims that a process holds on messages of Redis: confirmed while the process lives, and settled when tasks end.

A worker confirms its claims three times within ``visibility_timeout``, from a thread, so that this may be short and a
task long. A claim that nobody confirms returns the message to its queue, ``delivery_limit`` times; then the message
is dead-lettered, as are the messages that a worker rejects. Claims of dead processes of the same host end at once when
a worker begins to consume. Times are those of the server's clock.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from kombu.log import get_logger
from kombu.transport import redis, virtual
from kombu.utils.encoding import bytes_to_str

from .couplings import REDIS_TRANSPORT
from .redis_holders import is_gone
from .redis_scripts import ACK, CONFIRM, RELEASE

if TYPE_CHECKING:
    from .redis_transport import Channel

REDIS_TRANSPORT.fits()

MAX_TAGS = 500  # in one call of a script
ERRORS = tuple(error for errors in redis.get_redis_error_classes() for error in errors)

logger = get_logger(__name__)


class QoS(redis.QoS):
    """The claims of a channel's consumers.

    The object lives on after its channel, with a connection of its own, until the last claim is settled.
    """

    channel: Channel
    restored_by: ClassVar[int] = 0  # the process that has returned what its predecessors held

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
        Keeper.watch(self)

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message, later on where the server is away: the task is done and must not run again."""
        try:
            self.settle("done", delivery_tag)
        except ERRORS:
            Keeper.later.append((self, "done", delivery_tag))
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
        """Return the messages that dead processes of this host held, once in the life of this process."""
        if QoS.restored_by == os.getpid():
            return
        holders = self._client.hgetall(self.channel.keys[-1])
        left = [bytes_to_str(tag) for tag, holder in holders.items() if is_gone(bytes_to_str(holder))]
        for some in _batches(left):
            self.release("left", *some)
        QoS.restored_by = os.getpid()

    def restore_by_tag(self, tag: str, client: Any = None, leftmost: bool = False) -> None:
        """Give back a message that was not begun."""
        self.release("returned", tag)

    def restore_visible(self, *args: Any, **kwargs: Any) -> None:
        """Return the messages that no worker confirmed in time, after confirming our own. kombu calls it on connect."""
        Keeper.confirm()
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
                Keeper.later.append((self, "returned", *some))

    def confirm(self) -> None:
        """Confirm to Redis what is held."""
        for some in _batches([tag for tag in tuple(self._delivered) if tag not in self._dirty]):
            self.run(CONFIRM, *some)


class Keeper:
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
        """Confirm the claims of a channel from now on, also those that the channel has yet to make."""
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
        """Confirm, settle and return for as long as the process lives: what the thread runs."""
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


def _batches(tags: list[str]) -> Iterator[list[str]]:
    return (tags[start : start + MAX_TAGS] for start in range(0, len(tags), MAX_TAGS))


def _running() -> set[str]:
    """Return the tags of the tasks that run in this worker and will end."""
    state = sys.modules.get("celery.worker.state")
    if state is None or state.should_terminate:
        return set()
    return {request.message.delivery_tag for request in tuple(state.active_requests)}
