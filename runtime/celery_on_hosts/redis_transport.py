"""Redis's transport with a take that no crash can come between.

kombu's takes a message with BRPOP and writes down in a second command that it did; a worker that dies in between takes
the message with it. Here a script does both in one step. All else is where kombu's transport has it (lists by queue
and priority, ``unacked``, ``unacked_index``), so either transport reads what the other one wrote, Celery's and Redis's
tools show what they always show, and one can be changed for the other while tasks wait.

Redis lets no script wait. An idle worker waits for a token beside the queue, which a publish leaves there, and looks
again each second for producers that leave none (``brpop_timeout``, as in kombu's).

What a worker holds it confirms three times within ``visibility_timeout``, from a thread, so that this may be short and
a task long. What nobody confirms goes back to its queue, ``delivery_limit`` times, then into the list ``celery.dead``;
so does what a worker rejects. What a process of the same host held that is no more goes back at once, when a worker
begins to consume. Times are those of the server's clock.
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

DEAD = "celery.dead"
WAKE = "celery.wake."
WAKE_SECONDS = 60
DELIVERIES = "unacked_deliveries"
HOLDERS = "unacked_holders"
MAX_TAGS = 500  # in one call of a script
ERRORS = tuple(error for errors in redis.get_redis_error_classes() for error in errors)

logger = get_logger(__name__)

# What all begin with. KEYS: unacked, unacked_index, unacked_deliveries, celery.dead, unacked_holders.
_COMMON = """
local unacked, index, deliveries, dead, holders = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local clock = redis.call('TIME')
local now = string.format('%d.%06d', clock[1], clock[2])
local function park(message, queue, reason, count)
  redis.call('RPUSH', dead, '{"message":' .. message .. ',"queue":' .. cjson.encode(queue) ..
    ',"reason":"' .. reason .. '","count":' .. count .. ',"time":' .. now .. '}')
end
"""

# Take the first message of these lists. More KEYS: the lists. ARGV: who takes; for each list its queue, and whether it
# is acknowledged.
# A record is what kombu's would be, with the nameless exchange, which every queue is bound to by its name.
TAKE = (
    _COMMON
    + """
for i = 6, #KEYS do
  local queue, acknowledged = ARGV[2 * i - 10], ARGV[2 * i - 9] == '1'
  local message = redis.call('RPOP', KEYS[i])
  while message do
    local readable, fields = pcall(cjson.decode, message)
    local properties = readable and type(fields) == 'table' and fields.properties
    local tag = type(properties) == 'table' and properties.delivery_tag
    if tag then
      if acknowledged then
        redis.call('HSET', unacked, tag, '[' .. message .. ',"",' .. cjson.encode(queue) .. ']')
        redis.call('HSET', holders, tag, ARGV[1])
        redis.call('ZADD', index, now, tag)
      end
      return {queue, message, redis.call('HGET', deliveries, tag) or 0}
    end
    park(readable and message or cjson.encode(message), queue, 'unreadable', 1)
    message = redis.call('RPOP', KEYS[i])
  end
end
"""
)

# ARGV: tags that are done.
ACK = """
for _, tag in ipairs(ARGV) do
  redis.call('ZREM', KEYS[2], tag)
  redis.call('HDEL', KEYS[1], tag)
  redis.call('HDEL', KEYS[3], tag)
  redis.call('HDEL', KEYS[5], tag)
end
"""

# ARGV: tags that a worker still holds. At maxmemory too: it adds none.
CONFIRM = """#!lua flags=allow-oom
local clock = redis.call('TIME')
for _, tag in ipairs(ARGV) do
  redis.call('ZADD', KEYS[2], 'XX', string.format('%d.%06d', clock[1], clock[2]), tag)
end
"""

# Give messages back. ARGV: why (lost, left, requeued, returned, rejected), the delivery limit, kombu's separator
# between a queue's name and a priority, a prefix of keys, the priority steps with commas; then tags, the last one
# first, for it ends behind the others; or for lost an age in seconds. A server that has just started waits as long for
# the workers to come back before it calls a message lost. Returns those that kombu's transport recorded, which knows
# where to.
RELEASE = (
    _COMMON
    + """
local why, limit, separator, prefix = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local tags = {unpack(ARGV, 6)}
if why == 'lost' then
  local age = tonumber(tags[1])
  local up = tonumber(string.match(redis.call('INFO', 'server'), 'uptime_in_seconds:(%d+)'))
  if up < age then return {} end
  tags = redis.call('ZREVRANGEBYSCORE', index, now - age, '-inf', 'LIMIT', 0, 500)
end
local foreign = {}
for _, tag in ipairs(tags) do
  local record = redis.call('HGET', unacked, tag)
  redis.call('HDEL', holders, tag)
  if not record then
    redis.call('ZREM', index, tag)
  else
    local fields = cjson.decode(record)
    local queue = fields[3]
    local tail = ',"",' .. cjson.encode(queue) .. ']'
    if string.sub(record, -#tail) ~= tail then
      table.insert(foreign, tag)
    else
      local message = string.sub(record, 2, -#tail - 1)
      redis.call('ZREM', index, tag)
      redis.call('HDEL', unacked, tag)
      local count = why == 'returned' and 0 or redis.call('HINCRBY', deliveries, tag, 1)
      if why == 'rejected' or count >= limit then
        redis.call('HDEL', deliveries, tag)
        park(message, queue, why == 'rejected' and why or 'delivery_limit', count)
      else
        local priority, step = tonumber(fields[1].properties.priority) or 0, 0
        for one in string.gmatch(ARGV[5], '%d+') do
          if tonumber(one) <= priority then step = tonumber(one) end
        end
        local list = prefix .. queue .. (step == 0 and '' or separator .. step)
        redis.call(why == 'requeued' and 'LPUSH' or 'RPUSH', list, message)
      end
    end
  end
end
return foreign
"""
)

# KEYS: a list, its token. ARGV: a message, how long a token that nobody waits for is kept.
PUBLISH = """
redis.call('LPUSH', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[2], 0, '')
redis.call('EXPIRE', KEYS[2], ARGV[2])
"""


class QoS(redis.QoS):
    """What a channel's consumers hold. It lives on, with a connection of its own, until the last of it is settled."""

    channel: Channel

    def __init__(self, channel: Channel, *args: Any, **kwargs: Any) -> None:
        super().__init__(channel, *args, **kwargs)
        # Its own: a task may end after the connection was given up that brought it.
        self._client = channel.Client(connection_pool=redis.redis.ConnectionPool(**channel._connparams()))

    def run(self, script: str, *arguments: Any) -> Any:
        """Run one of the scripts on this module's keys."""
        return self._client.eval(script, 5, *self.channel.keys, *arguments)

    def can_consume(self) -> bool:
        """A take that was sent is read whatever the limit says by then: its message is ours already."""
        return bool(self.channel.takes or super().can_consume())

    def append(self, message: Any, delivery_tag: str) -> None:
        """Remember a message; its take has recorded it."""
        virtual.QoS.append(self, message, delivery_tag)
        _Keeper.watch(self)

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge, later on where the server is away: the task is done and must not run again for that."""
        try:
            self.settle("done", delivery_tag)
        except ERRORS:
            _Keeper.later.append((self, "done", delivery_tag))
        virtual.QoS.ack(self, delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Put it to the end of its queue, for others to go first, or park it."""
        try:
            self.release("requeued" if requeue else "rejected", delivery_tag)
        finally:
            virtual.QoS.ack(self, delivery_tag)

    def settle(self, why: str, *tags: str) -> None:
        """Acknowledge what is ``done``, give back what is ``returned``."""
        self.run(ACK, *tags) if why == "done" else self.release(why, *tags)

    def release(self, why: str, *rest: Any) -> None:
        """Give messages back.

        Args:
            why: ``lost`` and ``left`` (counted), ``requeued`` (counted, to the end), ``returned`` (not counted),
                ``rejected``.
            rest: tags, or for ``lost`` after how many seconds a message is that.
        """
        channel = self.channel
        limit = channel.delivery_limit or sys.maxsize
        steps = ",".join(map(str, channel.priority_steps))
        foreign = self.run(RELEASE, why, limit, channel.sep, channel.global_keyprefix, steps, *rest)
        for tag in foreign or ():
            super().restore_by_tag(bytes_to_str(tag))

    def restore_left(self) -> None:
        """Put back what processes of this host held that are no more."""
        holders = self._client.hgetall(self.channel.keys[-1])
        left = [bytes_to_str(tag) for tag, holder in holders.items() if is_gone(bytes_to_str(holder))]
        for some in _batches(left):
            self.release("left", *some)

    def restore_by_tag(self, tag: str, client: Any = None, leftmost: bool = False) -> None:
        """Give a message back that nobody has begun."""
        self.release("returned", tag)

    def restore_visible(self, *args: Any, **kwargs: Any) -> None:
        """Put back what no worker has confirmed in time, ours confirmed before. kombu calls it when it connects."""
        _Keeper.confirm()
        self.release("lost", self.visibility_timeout)

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Give back what has not begun when the channel closes.

        What runs is kept: it ends and is acknowledged, or its process dies and the timeout puts it back.
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
        """Tell Redis what is held."""
        for some in _batches([tag for tag in tuple(self._delivered) if tag not in self._dirty]):
            self.run(CONFIRM, *some)


class _Keeper:
    """Confirms what this process holds, says what it could not say in time, and puts back what others lost.

    From a thread: in a solo worker the main one is busy while a task runs, and without an event loop (gevent,
    eventlet, threads) kombu would seldom come to it.
    """

    held: ClassVar[weakref.WeakSet[QoS]] = weakref.WeakSet()
    later: ClassVar[deque[tuple[Any, ...]]] = deque()  # who, why, tags
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
                cls.held, cls.later = weakref.WeakSet([qos]), deque()  # a parent's are the parent's to confirm
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
        """As far as the server answers; what it was not told is tried again with the next."""
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
    """What tells this host from others: its name, and systemd's identity of it."""
    try:
        identity = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except OSError:
        identity = ""
    return f"{socket.gethostname()}.{identity}"


def holder() -> str:
    """What this process is called where it is written down who holds a message."""
    if _Me.pid != os.getpid():
        _Me.pid, _Me.name = os.getpid(), f"{host()}/{os.getpid()}/{uuid.uuid4().hex}"
    return _Me.name


def is_gone(name: str) -> bool:
    """Whether a holder was a process of this host that has ended. (One whose number another process has now is not
    known to be; the timeout sees to it.)

    Args:
        name: as ``holder`` makes it.
    """
    where, pid, _ = name.rsplit("/", 2)
    if where != host() or name == holder():
        return False
    return pid == str(os.getpid()) or not Path(f"/proc/{pid}").exists()


class _Me:
    pid = 0
    name = ""
    began_as = 0  # the process that has put back what its predecessors held


def _batches(tags: list[str]) -> Iterator[list[str]]:
    return (tags[start : start + MAX_TAGS] for start in range(0, len(tags), MAX_TAGS))


def _running() -> set[str]:
    """The tags of tasks that run in this worker and will end."""
    state = sys.modules.get("celery.worker.state")
    if state is None or state.should_terminate:
        return set()
    return {request.message.delivery_tag for request in tuple(state.active_requests)}


class Channel(redis.Channel):
    """A channel whose consumers take atomically."""

    QoS = QoS

    delivery_limit = 20
    visibility_timeout = 30
    brpop_timeout = 1
    from_transport_options = (*redis.Channel.from_transport_options, "delivery_limit")

    #: Whether a take was sent and its answer not read.
    takes = False
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
        """The keys of this module's scripts."""
        names = (self.unacked_key, self.unacked_index_key, DELIVERIES, DEAD, HOLDERS)
        return [self.global_keyprefix + name for name in names]

    def basic_consume(self, queue: str, no_ack: bool, *args: Any, **kwargs: Any) -> Any:
        """Consume, and remember which queues nobody acknowledges."""
        (self._no_ack.add if no_ack else self._no_ack.discard)(queue)
        self._empty = False
        if not no_ack:
            _Keeper.watch(self.qos)
            if _Me.began_as != os.getpid():
                self.qos.restore_left()
                _Me.began_as = os.getpid()
        return super().basic_consume(queue, no_ack, *args, **kwargs)

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> Any:
        """Take one message, or None where there is none."""
        message = super().basic_get(queue, **kwargs)
        if message is not None and no_ack:
            self.qos.ack(message.delivery_tag)
        return message

    def _get(self, queue: str) -> Any:
        with self.conn_or_acquire() as client:
            taken = client.eval(TAKE, *self._arguments([queue], no_ack=()))
            self._maybe_update_queues_expire(client, queue)
        if not taken:
            raise Empty
        return self._message(taken)[0]

    def _arguments(self, queues: Iterable[str], no_ack: Iterable[str]) -> Iterator[Any]:
        """What follows the script in a take from these queues, in this order, the first priority of each before."""
        lists = [(self._q_for_pri(queue, step), queue) for step in self.priority_steps for queue in queues]
        yield 5 + len(lists)
        yield from self.keys
        yield from (self.global_keyprefix + name for name, _ in lists)
        yield holder()
        for _, queue in lists:
            yield queue
            yield int(queue not in no_ack)

    def _message(self, taken: list[Any]) -> tuple[Any, str]:
        """The message of a take, marked where it was delivered before, and its queue."""
        queue, text, deliveries = taken
        message = loads(bytes_to_str(text))
        if int(deliveries):
            message["properties"].setdefault("delivery_info", {})["redelivered"] = True
            message["headers"] = {**(message.get("headers") or {}), "redelivered": True}
        return message, bytes_to_str(queue)

    def _brpop_start(self, timeout: float | None = None) -> None:
        """Ask for the next message, or for a token when there was none just now. kombu calls this and the next."""
        queues = self._queue_cycle.consume(len(self.active_queues))
        if not queues:
            return
        command: list[Any]
        if self._empty:
            wait = self.brpop_timeout if timeout is None else timeout
            command = ["BZPOPMIN", *(self._token(queue) for queue in queues), wait or 0]
        else:
            command = ["EVAL", TAKE, *self._arguments(queues, self._no_ack)]
        self.takes = not self._empty
        self._in_poll = self.client.connection
        self._brpop_sent_at = monotonic()
        self.client.connection.send_command(*command)

    def _brpop_read(self, **options: Any) -> bool:
        """Read the answer and deliver its message.

        Raises:
            Empty: there was none; the next start finds out what is to be done.
        """
        try:
            answer = self.client.parse_response(self.client.connection, "EVAL", **options)
        except self.connection_errors:
            self.client.connection.disconnect()
            raise
        finally:
            took, self.takes = self.takes, False
            self._in_poll = None
            self._flush_brpop_reauth()
        self._empty = took and not answer
        if not took or not answer:
            raise Empty
        message, queue = self._message(answer)
        self._queue_cycle.rotate(queue)
        self.connection._deliver(message, queue)
        return True

    def _on_connection_disconnect(self, connection: Any) -> None:
        if self._in_poll is connection:
            self.takes = False
        super()._on_connection_disconnect(connection)

    def _token(self, queue: str) -> str:
        return f"{self.global_keyprefix}{WAKE}{queue}"

    def _put(self, queue: str, message: Any, **kwargs: Any) -> None:
        """Publish, and wake a worker that waits."""
        if kwargs.get("_publish_batch") is not None or queue in self._expires:
            super()._put(queue, message, **kwargs)
            return
        key = self._q_for_pri(queue, self._get_message_priority(message, reverse=False))
        with self.conn_or_acquire() as client:
            client.eval(PUBLISH, 2, f"{self.global_keyprefix}{key}", self._token(queue), dumps(message), WAKE_SECONDS)


class Transport(redis.Transport):
    """kombu's transport for ``redis://`` and ``rediss://``, with an atomic take."""

    Channel = Channel
