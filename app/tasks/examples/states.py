"""The states of a task, and what a result tells of it."""

import time
from typing import Any
from uuid import uuid4

from celery import Task
from celery.exceptions import Ignore
from celery.result import AsyncResult

from ..celery import app
from ..registry import Number, Seconds, Text, example
from ..tasks import add, count, fail, mul
from .options import Failures, fetch


@app.task(track_started=True)
def nap(seconds: int = 3) -> int:
    """Sleep, and return how long."""
    time.sleep(seconds)
    return seconds


@example()
def pending() -> AsyncResult[Any]:
    """PENDING: it waits, or it was never sent. A result store cannot tell the one from the other."""
    return app.AsyncResult(str(uuid4()))


@example()
def started(seconds: Seconds = 3) -> AsyncResult[int]:
    """STARTED: a worker runs it. Reported only with `track_started`."""
    return nap.delay(seconds)


@example()
def success(x: Number = 6, y: Number = 7) -> AsyncResult[float]:
    """SUCCESS: it has returned."""
    return mul.delay(x, y)


@example()
def failure(message: Text = "as asked") -> AsyncResult[None]:
    """FAILURE: it has raised. The result is the exception."""
    return fail.delay(message)


@example()
def retry(failures: Failures = 1) -> AsyncResult[int]:
    """RETRY: it has failed, and will be tried again."""
    return fetch.delay(failures)


@example()
def revoked(seconds: Seconds = 3) -> AsyncResult[int]:
    """REVOKED: it was called off before it began."""
    result = nap.apply_async(countdown=seconds)
    result.revoke()
    return result


@example()
def terminated(seconds: Seconds = 60) -> AsyncResult[int]:
    """REVOKED: it was ended while it ran. This kills the process that runs it; only prefork workers can."""
    result = nap.delay(seconds)
    time.sleep(1)
    result.revoke(terminate=True)
    return result


@example()
def progress(seconds: Seconds = 10) -> AsyncResult[int]:
    """PROGRESS: a state of the task's own, with how far it is."""
    return count.delay(seconds)


@example()
def own_state(reason: Text = "nothing to do today") -> AsyncResult[None]:
    """A task may end in a state of its own, if Celery does not store one: `Ignore`."""
    return skip.delay(reason)


@app.task(bind=True)
def skip(self: Task[Any, Any], reason: str) -> None:
    """End as SKIPPED."""
    self.update_state(state="SKIPPED", meta={"reason": reason})
    raise Ignore


@example(waits=True)
def ask_a_success(x: Number = 2, y: Number = 3) -> dict[str, Any]:
    """Wait for a result, and ask it for all it knows."""
    result = add.delay(x, y)
    return {
        "get": result.get(timeout=10),
        "state": result.state,
        "ready": result.ready(),
        "successful": result.successful(),
        "failed": result.failed(),
        "info": result.info,
        "name": result.name,
        "args": result.args,
        "worker": result.worker,
        "date_done": str(result.date_done),
    }


@example(waits=True)
def ask_a_failure(message: Text = "as asked") -> dict[str, Any]:
    """`get` raises what the task has raised, unless it is told not to. The traceback is the worker's."""
    result = fail.delay(message)
    return {
        "get": repr(result.get(timeout=10, propagate=False)),
        "state": result.state,
        "successful": result.successful(),
        "failed": result.failed(),
        "info": repr(result.info),
        "traceback": result.traceback,
    }


@example(waits=True, raises=RuntimeError)
def get_raises(message: Text = "as asked") -> Any:
    """`get` raises what the task has raised."""
    return fail.delay(message).get(timeout=10)


@example(waits=True)
def children(x: Number = 2, y: Number = 3) -> list[Any]:
    """The children of a task are what was sent when it succeeded, and what it has sent itself."""
    result = add.apply_async((x, y), link=mul.s(10))
    result.get(timeout=10)
    sent: Any = result.children
    return [child.get(timeout=10) for child in sent]


@example(waits=True)
def forget(x: Number = 2, y: Number = 3) -> list[str]:
    """A result that was read can be deleted, and is unknown again. Otherwise it expires, after a day."""
    result = add.delay(x, y)
    result.get(timeout=10)
    before = result.state
    result.forget()
    return [before, app.AsyncResult(result.id).state]
