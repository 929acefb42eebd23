"""Submit a task, ask for its state, and check what both depend on. Knows nothing of HTTP."""

import inspect
import json
import logging
import math
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from celery import Task, states
from celery.result import AsyncResult, EagerResult, GroupResult, allow_join_result, denied_join_result
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection

from . import faults, registry, tasks, timeline
from .celery import app
from .models import Event, Run, Submission
from .publishing import publish
from .timeouts import CONNECT

log = logging.getLogger(__name__)

MAX_INT = 2**53 - 1  # what every reader of JSON takes without rounding (RFC 7493)
MAX_SECONDS = 3600


@dataclass(frozen=True)
class Example:
    """A task that the page and the API may submit, and the arguments that the page suggests."""

    task: "Task[Any, Any]"
    suggested: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The short name, such as `add`."""
        return self.task.name.rpartition(".")[2]

    @property
    def about(self) -> str:
        """What the task does, in a sentence."""
        return inspect.getdoc(self.task.run) or ""

    @property
    def signature(self) -> inspect.Signature:
        """What the task takes, without the bound `self`."""
        found = inspect.signature(self.task.run)
        return found.replace(parameters=[p for p in found.parameters.values() if p.name != "self"])


# Only these: everything else that the application has registered stays out of reach.
EXAMPLES = {
    example.name: example
    for example in (
        Example(tasks.add, {"x": 2, "y": 3}),
        Example(tasks.mul, {"x": 6, "y": 7}),
        Example(tasks.xsum, {"numbers": [1, 2, 3, 4]}),
        Example(tasks.count, {"seconds": 10}),
        Example(tasks.flaky, {"failures": 2}),
        Example(tasks.fail, {"message": "as asked"}),
    )
}
# For tests of what a worker survives. The page does not show them even then.
FAULTS = {example.name: example for example in (Example(faults.crash, {}), Example(faults.exhaust, {}))}


class BadRequest(Exception):
    """The caller asked for something that cannot be submitted. `code` is for programs, the message for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Unavailable(Exception):
    """Something that the answer depends on does not answer. `task_id` is set if the task may have been published."""

    def __init__(self, part: str, message: str, task_id: uuid.UUID | None = None) -> None:
        super().__init__(message)
        self.part = part
        self.task_id = task_id


@contextmanager
def needs_database(message: str = "the database does not answer; try again") -> Iterator[None]:
    """Turn what a database says that does not answer into Unavailable."""
    try:
        yield
    except DatabaseError as error:
        log.warning("the database does not answer: %r", error)
        raise Unavailable("database", message) from error


def _is(value: Any, wanted: Any) -> bool:
    """Tell whether the JSON `value` is what the annotation `wanted` says."""
    if wanted is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_INT
    if wanted is float:
        return _is(value, int) or (isinstance(value, float) and math.isfinite(value))
    if wanted == list[float]:
        return isinstance(value, list) and all(_is(item, float) for item in value)
    return isinstance(value, wanted)


_WORDS = {int: "a whole number", float: "a number", str: "a string", list[float]: "a list of numbers"}


def validate(name: Any, args: Any, kwargs: Any) -> Example:
    """Return the example that `name` means (`add` or `tasks.add`), or raise BadRequest and say what is wrong."""
    known = EXAMPLES | FAULTS if settings.FAULTS else EXAMPLES
    if not isinstance(name, str) or (example := known.get(name.removeprefix("tasks."))) is None:
        raise BadRequest("unknown_task", f"task must be one of: {', '.join(known)}")
    if not isinstance(args, list):
        raise BadRequest("bad_arguments", "args must be a list")
    if not isinstance(kwargs, dict):
        raise BadRequest("bad_arguments", "kwargs must be an object")
    try:
        bound = example.signature.bind(*args, **kwargs)
    except TypeError as error:
        raise BadRequest("bad_arguments", f"{example.name}{example.signature}: {error}") from None
    for key, value in bound.arguments.items():
        wanted = example.signature.parameters[key].annotation
        if not _is(value, wanted):
            raise BadRequest("bad_arguments", f"{key} must be {_WORDS[wanted]}")
        if key == "seconds" and not 1 <= value <= MAX_SECONDS:
            raise BadRequest("bad_arguments", f"{key} must be from 1 to {MAX_SECONDS}")
    return example


def submit(name: Any, args: Any, kwargs: Any) -> uuid.UUID:
    """Publish a task and return its id once the broker has confirmed it.

    Published first and recorded second: a record of a task that the broker never took would be a lie, while a missing
    record only leaves the task out of the list of recent ones. So a database that is away costs nobody a task.

    Raises:
        BadRequest: the task or its arguments are wrong; nothing was published.
        Unavailable: the broker refused or did not confirm in time; the task may run nevertheless.
    """
    example = validate(name, args, kwargs)
    task_id = uuid.uuid4()
    try:
        publish(example.task.name, args, kwargs, task_id)
    except Exception as error:  # none of them is an acceptance
        log.warning("broker did not confirm %s %s: %r", example.task.name, task_id, error)
        message = "the broker did not confirm the task; submit it again later, or follow its id in case it runs"
        raise Unavailable("broker", message, task_id) from error
    try:
        Submission.objects.create(id=task_id, task=example.task.name, args=args, kwargs=kwargs)
    except DatabaseError as error:
        log.warning("%s %s is published but not recorded: %r", example.task.name, task_id, error)
    return task_id


def run_example(name: str, arguments: dict[str, Any]) -> uuid.UUID:
    """Run an example, and return the id of the run once the broker has taken what it sends.

    The run is recorded first, for what happens to its tasks is recorded as part of it.

    Args:
        name: the example's.
        arguments: what `Example.check` or `Example.read` returned.

    Raises:
        UnknownExample: there is none of this name.
        BadArguments: they name what is not there.
        Unavailable: the database does not answer, and nothing was sent; or the broker or the results do not.
    """
    example = registry.find(name)
    with needs_database():
        run = Run.objects.create(example=name, arguments=_jsonable(arguments))
    try:
        with timeline.recording(run.pk), allow_join_result() if example.waits else denied_join_result():
            outcome = example.function(**arguments)
    except registry.BadArguments:
        run.delete()
        raise
    except DatabaseError as error:
        log.warning("example %s %s failed: %r", name, run.pk, error)
        raise Unavailable("database", "the database does not answer; try again") from error
    except example.raises as error:
        run.error = f"{type(error).__name__}: {error}"
    except Exception as error:
        log.warning("example %s %s failed: %r", name, run.pk, error)
        message = "the broker or the result backend does not answer; a part of the example may run"
        run.error = f"Not accepted: {message}."
        _keep(run)
        raise Unavailable("broker", message) from error
    else:
        if isinstance(outcome, AsyncResult | GroupResult) and not isinstance(outcome, EagerResult):
            run.results = outcome.as_tuple()
        else:
            run.value = _jsonable(outcome.get() if isinstance(outcome, EagerResult) else outcome)
    _keep(run)
    return run.pk


def run_again(run: Run) -> uuid.UUID:
    """Run the example of a run again, with the same arguments, and return the id of the new run.

    Raises:
        UnknownExample, BadArguments: it is no longer what it was.
        Unavailable: as `run_example`.
    """
    return run_example(run.example, registry.find(run.example).check(run.arguments, strict=False))


def revoke(task_ids: list[str], terminate: bool = False) -> None:
    """Have workers discard tasks that wait, and with `terminate` end those that run.

    Raises:
        Unavailable: the broker does not answer.
    """
    try:
        app.control.revoke(task_ids, terminate=terminate)
    except Exception as error:  # each transport has its own errors
        log.warning("not revoked: %s: %r", ", ".join(task_ids), error)
        raise Unavailable("broker", "the broker does not answer; revoke it again") from error


def _keep(run: Run) -> None:
    try:
        run.save()
    except DatabaseError as error:
        log.warning("what came of %s is not recorded: %r", run, error)


MAX_TASKS = 200  # of a run, that are described


def _task_ids(results: Any) -> Iterator[str]:
    """Yield the ids in what `as_tuple` gave: first what it came from, as a chain's, and of a group its members'."""
    (result_id, parent), members = results
    if parent:
        yield from _task_ids(parent)
    if members is None:
        yield result_id
    for member in members or ():
        yield from _task_ids(member)


def last_ids(results: Any) -> list[str]:
    """Return the ids of the results in what `as_tuple` gave: its own, or those of the members of a group."""
    (result_id, _), members = results
    return [last for member in members for last in last_ids(member)] if members else [result_id]


def _tasks_of(results: Any) -> dict[str, dict[str, Any]]:
    """Describe each task that is known of, and those that they have sent, by id."""
    found: dict[str, dict[str, Any]] = {}
    waiting = list(_task_ids(results))
    if len(waiting) > MAX_TASKS:
        waiting = [*waiting[: MAX_TASKS - 1], waiting[-1]]  # the last one's result is the run's
    for task_id in waiting:
        if task_id not in found and len(found) < MAX_TASKS:
            found[task_id] = describe(task_id)
            waiting += found[task_id]["children"]
    return found


def _summary(run: Run, tasks: Mapping[str, Mapping[str, Any]]) -> tuple[str, Any]:
    """Return the state and the result of what the call gave, of a group those of all of its members together."""
    if run.error:
        return states.FAILURE, None
    if not run.results:
        return states.SUCCESS, run.value
    last = [tasks[task_id] for task_id in last_ids(run.results) if task_id in tasks]
    if run.results[1] is None:  # no group
        return last[0]["state"], last[0]["result"]
    seen = {task["state"] for task in last}
    for failed in (states.FAILURE, states.REVOKED):
        if failed in seen:
            return failed, None
    if seen <= {states.SUCCESS}:
        return states.SUCCESS, [task["result"] for task in last]
    return (states.STARTED if seen - {states.PENDING} else states.PENDING), None


def find_run(run_id: uuid.UUID) -> Run | None:
    """Return a run, or None if there is none.

    Raises:
        Unavailable: the database does not answer.
    """
    with needs_database():
        return Run.objects.filter(pk=run_id).first()


def describe_run(run: Run) -> dict[str, Any]:
    """Return what is known of a run and of each of its tasks.

    Raises:
        Unavailable: the result backend does not answer.
    """
    tasks = _tasks_of(run.results) if run.results else {}
    state, result = _summary(run, tasks)
    return {
        "id": str(run.pk),
        "example": run.example,
        "arguments": run.arguments,
        "created": run.created.isoformat(),
        "state": state,
        "ready": state in states.READY_STATES,
        "result": result,
        "error": run.error or None,
        "tasks": list(tasks.values()),
    }


def events_of(run: Run) -> list[dict[str, Any]]:
    """Return what was recorded of the tasks of a run.

    Raises:
        Unavailable: the database does not answer.
    """
    fields = ("task_id", "task", "root_id", "parent_id", "kind", "time", "worker", "queue", "detail")
    with needs_database():
        events = list(Event.objects.filter(run=run).values(*fields))
    return [{**event, "time": event["time"].isoformat()} for event in events]


def _jsonable(value: Any) -> Any:
    """Return `value` if JSON can carry it, else its representation."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return repr(value)
    return value


def _progress(meta: Any) -> dict[str, Any] | None:
    """Return what a task reported of its progress, with the percentage."""
    if not isinstance(meta, dict) or not meta.get("total"):
        return None
    return {**meta, "percent": round(100 * meta.get("current", 0) / meta["total"])}


def describe(task_id: uuid.UUID | str, record: Submission | None = None) -> dict[str, Any]:
    """Return all that is known of a task. PENDING is also what Celery says of an id that it has never seen.

    Raises:
        Unavailable: the result backend does not answer.
    """
    try:
        meta: dict[str, Any] = app.backend.get_task_meta(str(task_id))
    except Exception as error:  # each backend has its own errors
        log.warning("no state of %s: %r", task_id, error)
        raise Unavailable("results", "the result backend does not answer; try again") from error
    state, result = meta["status"], meta.get("result")
    failed = state in states.EXCEPTION_STATES
    done = meta.get("date_done")
    return {
        "id": str(task_id),
        "task": meta.get("name") or (record.task if record else None),
        "args": _jsonable(record.args if record else meta.get("args")),
        "kwargs": _jsonable(record.kwargs if record else meta.get("kwargs")),
        "created": record.created.isoformat() if record else None,
        "state": state,
        "ready": state in states.READY_STATES,
        "progress": _progress(result) if state == "PROGRESS" else None,
        "info": None if failed or state == states.SUCCESS else _jsonable(result),  # what came with any other state
        "result": _jsonable(result) if state == states.SUCCESS else None,
        "error": {"type": type(result).__name__, "message": str(result)} if failed else None,
        "retries": meta.get("retries") or 0,
        "worker": meta.get("worker"),
        "children": [task_id for child in meta.get("children") or () for task_id in _task_ids(child)],
        "date_done": done.isoformat() if isinstance(done, datetime) else done,
    }


def record_of(task_id: uuid.UUID) -> Submission | None:
    """Return the record of a task, or None if there is none or the database does not answer."""
    try:
        return Submission.objects.filter(pk=task_id).first()
    except DatabaseError as error:
        log.warning("no record of %s: %r", task_id, error)
        return None


def recent(limit: int = 20) -> list[Submission]:
    """Return the newest records.

    Raises:
        Unavailable: the database does not answer.
    """
    with needs_database("the database does not answer; tasks can be submitted all the same"):
        return list(Submission.objects.all()[:limit])


def _check_broker() -> None:
    with app.connection_for_write() as broker:
        broker.ensure_connection(max_retries=1, interval_start=0, timeout=CONNECT)
        broker.default_channel  # noqa: B018 - opening it is the check: Redis connects no sooner


def _check_results() -> None:
    app.backend.get_task_meta(str(uuid.uuid4()))


def _check_database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


CHECKS: dict[str, Callable[[], None]] = {
    "broker": _check_broker,
    "results": _check_results,
    "database": _check_database,
}


def readiness() -> dict[str, str]:
    """Return `ok` or the kind of error of each thing that the app depends on; the log has the rest."""
    found = {}
    for part, check in CHECKS.items():
        try:
            check()
            found[part] = "ok"
        except Exception as error:  # noqa: BLE001 - whatever it is, this part is not ready
            log.warning("%s is not ready: %r", part, error)
            found[part] = type(error).__name__
    return found
