"""What is kept where at this moment: messages at the broker, results in their store."""

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from celery.backends.base import KeyValueStoreBackend
from celery.backends.redis import RedisBackend
from celery.backends.rpc import RPCBackend
from django.core.cache import cache

from .celery import app
from .timeline import text
from .timeouts import CONNECT

log = logging.getLogger(__name__)

SECONDS = 1  # that all open pages share one look at the broker
MAX_TASKS = 20  # of a run, whose results are shown


@dataclass(frozen=True)
class Line:
    """One thing that is stored: what it is called there, and what is in it."""

    name: str
    value: str
    note: str = ""


def broker(queues: Iterable[str]) -> tuple[str, list[Line]]:
    """Return the broker's name and how much waits in each queue, or why that is not known."""
    names = sorted({name for name in queues if name} | {app.conf.task_default_queue})
    key = f"broker:{','.join(names)}"
    found: tuple[str, list[Line]] | None = cache.get(key)
    if found is None:
        found = _look(names)
        cache.set(key, found, SECONDS)
    return found


def _look(names: list[str]) -> tuple[str, list[Line]]:
    title = app.connection_for_write().transport.driver_type
    title = {"redis": "Redis", "amqp": "RabbitMQ"}.get(title, title)
    pool: Any = app.pool
    try:
        with pool.acquire(block=True, timeout=CONNECT) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=CONNECT)
            lines = [_queue(connection, name) for name in names]
            with connection.channel() as channel:
                if connection.transport.driver_type == "amqp":
                    note = "RabbitMQ tells a client only how many wait; its management pages have this and the messages"
                    lines.append(Line("unacknowledged", "?", note))
                elif hasattr(channel, "unacked_key"):
                    in_hand = channel.client.hlen(channel.unacked_key)
                    lines.append(Line(channel.unacked_key, str(in_hand), "taken by a worker, not acknowledged yet"))
    except Exception as error:  # noqa: BLE001 - each transport has its own; a page that lacks a figure is still a page
        log.warning("no look at the broker: %r", error)
        return title, [Line("the broker", "does not answer")]
    return title, lines


def _queue(connection: Any, name: str) -> Line:
    """Ask for a queue without making it. An empty one is none at Redis."""
    with connection.channel() as channel:
        try:
            declared = channel.queue_declare(name, passive=True)
        except connection.channel_errors:
            return Line(name, "0", "waiting")
    note = "waiting"
    if declared.consumer_count and connection.transport.driver_type == "amqp":
        note += f", {declared.consumer_count} workers listen"
    return Line(name, str(declared.message_count), note)


def results(task_ids: Iterable[str], groups: Iterable[str]) -> tuple[str, list[Line], dict[str, str]]:
    """Return the store's name, what it has of these tasks and groups, and the state of each task that it has.

    Args:
        task_ids: of which no more than the first few are asked for.
        groups: ids of groups, of which a store may keep which members have ended.
    """
    backend: Any = app.backend
    ids, title = list(task_ids)[:MAX_TASKS], type(backend).__name__.removesuffix("Backend")
    if isinstance(backend, RPCBackend):
        note = Line("a message for each result", "", "only who sent the task can read it, and only once")
        return "rpc", [note], {}
    try:
        if isinstance(backend, RedisBackend):
            return "Redis", *_in_redis(backend, ids, list(groups))
        if isinstance(backend, KeyValueStoreBackend):
            return title, *_by_key(backend, ids)
        return title, *_rows(backend, ids)
    except Exception as error:  # noqa: BLE001 - as above
        log.warning("no look at the results: %r", error)
        return title, [Line("the result store", "does not answer")], {}


def _name(key: str | bytes) -> str:
    return key.decode() if isinstance(key, bytes) else key


def _shown(raw: Any) -> tuple[str, str]:
    """Return what a store keeps of a task, readable and not too long, and its state."""
    if raw is None:
        return "nothing", ""
    try:
        meta = json.loads(raw)
    except (ValueError, TypeError):
        return text(raw), ""
    return _readable(meta) if isinstance(meta, dict) else (text(json.dumps(meta, ensure_ascii=False)), "")


def _readable(meta: dict[str, Any]) -> tuple[str, str]:
    """Return what a result's record has, but the traceback, which is shown elsewhere; and the state."""
    kept = {key: value for key, value in meta.items() if value not in (None, [], {}, "") and key != "traceback"}
    return text(json.dumps(kept, indent=1, default=repr, ensure_ascii=False)), str(meta.get("status", ""))


def _in_redis(backend: Any, ids: list[str], groups: list[str]) -> tuple[list[Line], dict[str, str]]:
    keys = [backend.get_key_for_task(task_id) for task_id in ids]
    joins = [backend.get_key_for_group(group, ".j") for group in groups]
    with backend.client.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.get(key).ttl(key)
        for key in joins:
            pipe.exists(key).zcard(key) if backend._chord_zset else pipe.exists(key).llen(key)
        found = pipe.execute()
    lines, known = [], {}
    for task_id, key, raw, ttl in zip(ids, keys, found[::2], found[1::2], strict=False):
        value, known[task_id] = _shown(raw)
        lines.append(Line(_name(key), value, f"expires in {_span(ttl)}" if ttl > 0 else ""))
    for key, there, count in zip(joins, found[2 * len(keys) :: 2], found[2 * len(keys) + 1 :: 2], strict=True):
        if there:
            lines.append(Line(_name(key), f"{count} results", "of the chord's members: its body waits for the rest"))
    return lines, known


def _span(seconds: int) -> str:
    return (
        f"{round(seconds / 3600)} h" if seconds >= 5400 else f"{round(seconds / 60)} min" if seconds > 90 else "1 min"
    )


def _by_key(backend: Any, ids: list[str]) -> tuple[list[Line], dict[str, str]]:
    lines, known = [], {}
    for task_id in ids:
        key = backend.get_key_for_task(task_id)
        value, known[task_id] = _shown(backend.get(key))
        lines.append(Line(_name(key), value))
    return lines, known


def _rows(backend: Any, ids: list[str]) -> tuple[list[Line], dict[str, str]]:
    lines, known = [], {}
    for task_id in ids:
        value, known[task_id] = _readable(dict(backend.get_task_meta(task_id, cache=False)))
        lines.append(Line(f"the row of {task_id}", value))
    return lines, known
