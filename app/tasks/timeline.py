"""What happens to the tasks of a run, written down as it happens, for the page to show.

Whoever sends a task within `recording(run)` puts a header on its message. Celery hands a message's headers to the task,
so whatever this one sends gets the header too, and so do the members and the body of a canvas. The handlers of Celery's
signals, of `update_state` and of the log write an event for a task that has it. All others cost a look at a header.

A database that does not answer loses the event, not the task.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID
from weakref import WeakValueDictionary

import celery
from celery import current_task, signals, states
from celery.canvas import _chain as Chain
from celery.canvas import chord as Chord
from celery.canvas import group as Group
from celery.canvas import signature
from django.db import Error as DatabaseError
from django.db import connection, transaction

if TYPE_CHECKING:
    BaseTask = celery.Task[Any, Any]
else:
    BaseTask = celery.Task

log = logging.getLogger(__name__)

HEADER = "timeline"
MAX_TEXT = 4000  # characters of a text that is kept
MAX_LINES = 200  # of a task's log in each attempt

_run: ContextVar[str | None] = ContextVar("run", default=None)
_writing: ContextVar[bool] = ContextVar("writing", default=False)
# Requests that this worker has in hand: a few of Celery's signals name a task and bring no request.
_received: "WeakValueDictionary[str, Any]" = WeakValueDictionary()


@contextmanager
def recording(run: UUID) -> Iterator[None]:
    """Have all that is sent from here, and what comes of it, recorded as part of a run."""
    token = _run.set(str(run))
    try:
        yield
    finally:
        _run.reset(token)


def text(value: Any) -> str:
    """Return a text that every database takes, of a length that is bounded."""
    found = value if isinstance(value, str) else repr(value)
    return (found if len(found) <= MAX_TEXT else f"{found[:MAX_TEXT]}…").replace("\0", "\N{REPLACEMENT CHARACTER}")


def _header(request: Any) -> Any:
    return (getattr(request, "headers", None) or {}).get(HEADER)


def _write(kind: str, header: Any, about: Mapping[str, Any], time_s: float | None = None, **detail: Any) -> None:
    """Record an event, or log why it is not.

    Args:
        kind: what has happened.
        header: the message's, which names run and queue.
        about: `id`, `task`, and maybe `root_id`, `parent_id` and `hostname`.
        time_s: when, in seconds since 1970; now, unless given.
        detail: the rest, for JSON.
    """
    from .models import Event

    when = datetime.fromtimestamp(time_s or time.time(), UTC)
    values = {
        "task": about["task"],
        "root_id": about.get("root_id") or "",
        "parent_id": about.get("parent_id") or "",
        "time": when,
        "worker": about.get("hostname") or "",
        "queue": header.get("queue") or "",
        "detail": detail,
    }
    key = {"run_id": header["run"], "task_id": about["id"], "kind": kind}
    token = _writing.set(True)
    try:
        with transaction.atomic():
            # Of progress the last is kept. Two tasks that report a third one's at the same time may have made two rows:
            # both are updated. update_or_create() would fail the tasks.
            if kind != "progress" or not Event.objects.filter(**key).update(**values):
                Event.objects.create(**key, **values)
    except (DatabaseError, ValueError, TypeError) as error:
        log.warning("%s of %s is not recorded: %r", kind, about["id"], error)
        if not connection.in_atomic_block:
            connection.close()  # the next one opens another
    finally:
        _writing.reset(token)


def _about(task: "celery.Task[Any, Any]", request: Any) -> dict[str, Any]:
    return {
        "id": request.id,
        "task": task.name,
        "root_id": request.root_id,
        "parent_id": request.parent_id,
        "hostname": request.hostname,
    }


def _of(task: "celery.Task[Any, Any]", task_id: str | None = None, **detail: Any) -> tuple[Any, dict[str, Any]]:
    """Return the header of the request of a task that runs, or ran in a child of this process, and what it is."""
    request: Any = task.request
    if task_id and request.id != task_id:
        request = getattr(_received.get(task_id), "_context", None)
    return _header(request), _about(task, request) if request else {}


# --- what is sent -------------------------------------------------------------------------------------------------


@signals.before_task_publish.connect
def _mark(headers: dict[str, Any], declare: Any = None, **_: Any) -> None:
    """Put the header on a message of the run that is recorded here, or of the task that sends it."""
    sender = _header(current_task.request) if current_task else None
    if run := _run.get() or (sender and sender["run"]):
        queue = declare[0].name if declare else ""
        headers[HEADER] = {"run": run, "queue": queue, "sent": time.time()}


@signals.after_task_publish.connect
def _sent(
    sender: str, headers: Mapping[str, Any], body: Any, exchange: Any = None, routing_key: str | None = None, **_: Any
) -> None:
    if header := headers.get(HEADER):
        message = {
            "exchange": str(getattr(exchange, "name", exchange) or ""),
            "routing_key": routing_key or "",
            "headers": {key: value for key, value in headers.items() if value not in (None, {}, []) and key != HEADER},
        }
        about = {"task": sender, **{key: headers.get(key) for key in ("id", "root_id", "parent_id")}}
        _write("sent", header, about, header["sent"], message=message, edges=planned(headers["id"], body[2]))


def planned(task_id: str, embed: Mapping[str, Any]) -> list[list[str]]:
    """Return what will follow a task, as its message says: `[from, to, name of to, kind]` each.

    Args:
        task_id: the task's.
        embed: the third part of its message's body: chain, chord, callbacks and error callbacks.
    """
    edges: list[list[str]] = []
    ends = [task_id]
    for step in reversed(embed.get("chain") or []):
        ends = _follow(edges, ends, step, "then")
    if chord := embed.get("chord"):
        # Celery tells the body of a chord to each member, so what follows the body is told with it.
        _follow(edges, ends, chord, "chord")
    for kind, key in (("link", "callbacks"), ("error", "errbacks")):
        for callback in embed.get(key) or []:
            _follow(edges, [task_id], callback, kind)
    return edges


def _follow(edges: list[list[str]], before: list[str], what: Any, kind: str) -> list[str]:
    """Add the edges from tasks to a signature that follows them, and those within it; return the ids it ends with."""
    what = signature(what)
    if isinstance(what, Chain):
        for step in what.tasks:
            before, kind = _follow(edges, before, step, kind), "then"
        ends = before
    elif isinstance(what, Group):
        ends = [end for member in what.tasks for end in _follow(edges, before, member, kind)]
    elif isinstance(what, Chord):
        header = what.tasks if isinstance(what.tasks, Group) else Group(what.tasks)
        ends = _follow(edges, _follow(edges, before, header, kind), what.body, "chord")
    elif task_id := what.options.get("task_id"):
        edges += [[task, task_id, what.task, kind] for task in before]
        ends = [task_id]
        if chord := what.options.get("chord"):
            _follow(edges, ends, chord, "chord")
    else:  # it has no id before it is sent, and will say then who has sent it
        ends = []
    return ends


# --- what workers do with it --------------------------------------------------------------------------------------


@signals.task_received.connect
def _on_received(request: Any, **_: Any) -> None:
    if header := request.request_dict.get(HEADER):
        _received[request.id] = request
        about = {**request.request_dict, "hostname": request.hostname}
        info = request.delivery_info
        _write("received", header, about, priority=info.get("priority"), redelivered=bool(info.get("redelivered")))


@signals.task_prerun.connect
def _on_started(task: "celery.Task[Any, Any]", **_: Any) -> None:
    header, about = _of(task)
    if header:
        _write("started", header, about, retries=task.request.retries)


class Task(BaseTask):
    """The application's base class of tasks: a state that a task sets itself is recorded as well."""

    def update_state(
        self, task_id: str | None = None, state: str | None = None, meta: Any = None, **kwargs: Any
    ) -> None:
        """Set the task's state and what is to be known of it, as Celery's does."""
        super().update_state(task_id, state, meta, **kwargs)
        header, about = _of(self)
        if header:
            if task_id and task_id != about["id"]:  # a task may tell how far another one is
                about = {"id": task_id, "task": ""}
            bounded = meta if len(repr(meta)) <= MAX_TEXT else text(repr(meta))
            _write("progress", header, about, state=state, meta=bounded)


@signals.task_retry.connect
def _on_retry(sender: "celery.Task[Any, Any]", request: Any, reason: Any = None, **_: Any) -> None:
    if header := _header(request):
        _write("retry", header, _about(sender, request), reason=text(str(reason)), retries=request.retries)


@signals.task_success.connect
def _on_success(sender: "celery.Task[Any, Any]", result: Any = None, **_: Any) -> None:
    header, about = _of(sender)
    if header:
        _write("succeeded", header, about, result=text(repr(result)))


@signals.task_failure.connect
def _on_failure(
    sender: "celery.Task[Any, Any]", task_id: str, exception: Any = None, einfo: Any = None, **_: Any
) -> None:
    header, about = _of(sender, task_id)
    if header:
        trace = getattr(einfo, "traceback", None) or ""
        _write("failed", header, about, error=text(f"{type(exception).__name__}: {exception}"), traceback=text(trace))


@signals.task_postrun.connect
def _on_end(task: "celery.Task[Any, Any]", state: str | None = None, **_: Any) -> None:
    if state in (states.IGNORED, states.REJECTED):  # of which there is no other signal
        header, about = _of(task)
        if header:
            _write("ended", header, about, state=state)


@signals.task_revoked.connect
def _on_revoked(
    sender: "celery.Task[Any, Any]", request: Any, terminated: bool = False, expired: bool = False, **_: Any
) -> None:
    if header := _header(request):
        _write("revoked", header, _about(sender, request), terminated=bool(terminated), expired=bool(expired))


# --- its log ------------------------------------------------------------------------------------------------------


class TimelineHandler(logging.Handler):
    """Keeps what a recorded task logs or prints as events of the kind `log`."""

    def emit(self, record: logging.LogRecord) -> None:
        """Record a line, unless it is of this very module or one too many."""
        if _writing.get() or not current_task:
            return
        request: Any = current_task.request
        if header := _header(request):
            request.lines = lines = getattr(request, "lines", 0) + 1
            if lines <= MAX_LINES:
                message = text(record.getMessage())
                about = _about(current_task, request)
                _write("log", header, about, record.created, level=record.levelname, message=message)


@signals.after_setup_logger.connect
@signals.after_setup_task_logger.connect
def _keep_lines(logger: logging.Logger, **_: Any) -> None:
    logger.addHandler(TimelineHandler(logging.INFO))
