"""What becomes of a message that a worker is given again.

A worker that lost its connection cannot acknowledge what it has in hand, so the broker delivers it again, often to the
same worker. That worker acknowledges a task that it has just finished, and waits for a task that it still runs: a
broker that is restarted makes nothing run twice. (Celery's ``worker_deduplicate_successful_tasks`` goes by the result
store, where a success may stand whose chord does not know of it yet; only the process that ran a task knows that all of
it was done.)

A task that kills its worker is dead-lettered before its neighbours are. The broker counts every message that a dead
worker had in hand, also those that had only been fetched: when such a task reaches the delivery limit, so do they.
While a task runs there is a file ``<program>.running/<pid>/<task's id>`` in ``names.run_dir()``. The tasks whose files
a dead worker left were running when it died, and each gets a strike. A task with a strike runs only while no other such
task does, so that an innocent task that ran beside a deadly one proves itself; with CRASH_LIMIT strikes it is rejected,
which dead-letters it on either broker.

A task whose child was killed runs again, also when its result says SUCCESS: Celery stores that before it counts the
task for its chord, and since 5.7 acknowledges a task that was killed in between (SOAK=40m: the body of one chord, of
62,169 tasks).

Celery's own extension point for what becomes of a message is ``Task.Strategy``.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import quote

from celery import Celery, Task, bootsteps, signals
from celery.utils.log import get_logger
from celery.worker import state, strategy

from . import names, processes
from .couplings import REDELIVERY, RUNS_AGAIN_AFTER_SUCCESS
from .files import read_object, write_atomically
from .upstream import replace

CRASH_LIMIT = 5  # strikes
KEPT_SECONDS = 86_400.0
PAUSE = 0.5  # seconds until a task that has to wait asks again
REMEMBERED = 100  # ended tasks, before those that are acknowledged are forgotten

logger = get_logger(__name__)


class Strikes:
    """How often each task was running when this program's worker died.

    Args:
        program: supervisor's name of the worker.
        limit: with so many strikes a task is rejected.
    """

    def __init__(self, program: str, limit: int = CRASH_LIMIT) -> None:
        self.program = names.run_dir() / f"{program}.running"
        self.running = self.program / str(os.getpid())  # a predecessor may still run what it holds
        self.path = names.run_dir() / f"{program}.strikes.json"
        self.limit = limit
        self.counts: dict[str, tuple[int, float]] = {}
        self._ended: dict[str, Any] = {}

    def end(self, task_id: str, message: Any) -> None:
        """Remember the message of a task that has ended, while it is not acknowledged."""
        if len(self._ended) > REMEMBERED:
            self._ended = {id: ended for id, ended in self._ended.items() if not ended.acknowledged}
        self._ended[task_id] = message

    def unsettled(self, task_id: str) -> bool:
        """Return whether a task ended here and its message could not be acknowledged.

        After an acknowledged message, a message with the same id is another: an application may send a task again.
        """
        message = self._ended.get(task_id)
        return message is not None and not message.acknowledged

    def read(self) -> None:
        """Find out what was running when the last worker died, and begin anew. A worker that stops leaves nothing."""
        now = time.time()
        with contextlib.suppress(ValueError, TypeError):
            known = read_object(self.path)
            self.counts = {name: (n, when) for name, (n, when) in known.items() if when > now - KEPT_SECONDS}
        self.running.mkdir(parents=True, exist_ok=True)
        for folder in self.program.iterdir():
            if folder != self.running and processes.exists(folder.name):
                continue
            for file in sorted(folder.iterdir()):
                self.counts[file.name] = (self.of(file.name) + 1, now)
                logger.warning("task %s ran when this worker died: %d of %d", file.name, self.of(file.name), self.limit)
                file.unlink(missing_ok=True)
            if folder != self.running:
                folder.rmdir()
        self.write()

    def write(self) -> None:
        """Keep the strikes for the next worker."""
        write_atomically(self.path, json.dumps(self.counts))

    def forget(self, name: str) -> None:
        """Begin anew with a task that was requeued by hand."""
        del self.counts[name]
        with contextlib.suppress(OSError):
            self.write()

    def of(self, name: str) -> int:
        """Return the strikes against a task, by its file's name."""
        return self.counts.get(name, (0, 0.0))[0]

    def begins(self, task_id: str = "", **_: Any) -> None:
        """Mark a task as running."""
        with contextlib.suppress(OSError):
            os.close(os.open(self.running / name_of(task_id), os.O_CREAT | os.O_WRONLY, 0o600))

    def ends(self, task_id: str = "", **_: Any) -> None:
        """Remove the mark of a task."""
        with contextlib.suppress(OSError):
            (self.running / name_of(task_id)).unlink()

    def stopped(self, **_: Any) -> None:
        """Remove all marks: no task runs any more, those that are marked ended by their time limit or alike."""
        shutil.rmtree(self.running, ignore_errors=True)


def name_of(task_id: str) -> str:
    """Return the name of a task's file: an id may hold any characters."""
    return quote(task_id, safe="")[:200]


def install() -> None:
    """Let a task run again whose process was killed after its success. Idempotent."""
    if RUNS_AGAIN_AFTER_SUCCESS.fits():
        from celery.worker.request import Request

        if hasattr(Request, "_success_was_stored"):  # Celery before 5.7 does not look at the result
            replace(Request, "_success_was_stored", _disregard_success)


def _disregard_success(settled: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @wraps(settled)
    def _success_was_stored(self: Any) -> Any:
        if self.task.acks_late and self.task.reject_on_worker_lost:
            return False
        return settled(self)

    return _success_was_stored


class Guard(bootsteps.StartStopStep):
    """The worker's step that gets ready before the first message is received."""

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self.enabled = False  # there is nothing to start or stop
        if not names.program() or not REDELIVERY.fits():
            return
        strikes = Strikes(names.program())
        try:
            strikes.read()
        except OSError as error:
            logger.warning("a task that kills this worker cannot be told from its neighbours: %s", error)
            return
        worker.app.strikes = strikes
        # Before the pool makes its children, which run the tasks.
        signals.task_prerun.connect(strikes.begins, weak=False)
        signals.task_postrun.connect(strikes.ends, weak=False)
        signals.worker_shutdown.connect(strikes.stopped, weak=False)
        Task.Strategy = f"{__name__}:receive"  # of all tasks that have none of their own


def receive(task: Any, app: Celery, consumer: Any, **kwargs: Any) -> Callable[..., Any]:
    """Receive the messages of a task as Celery does, with a look at what was delivered before.

    Args:
        task: that messages are received for.
        app: whose task it is.
        consumer: the worker's.
        kwargs: for Celery's strategy.

    Returns:
        the function that Celery calls with each message.
    """
    handle: Callable[..., Any] = strategy.default(task, app, consumer, **kwargs)
    strikes: Strikes | None = getattr(app, "strikes", None)
    if strikes is None:
        return handle  # a second worker of this process, in a thread, that has another app

    def on_message(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any) -> Any:
        task_id = str((message.headers or {}).get("id") or "")
        name = name_of(task_id)

        def end(*args: Any) -> Any:
            strikes.end(task_id, message)
            return ack(*args)

        if not message.delivery_info.get("redelivered"):
            if strikes.of(name):
                strikes.forget(name)
            return handle(message, body, end, reject, callbacks)
        if strikes.unsettled(task_id):
            logger.info("task %s was delivered again after it had ended here", task_id)
            return ack(logger, consumer.connection_errors)
        count = strikes.of(name)
        if count >= strikes.limit:
            logger.error("task %s killed its worker %d times and is dead-lettered", task_id, count)
            return reject(logger, consumer.connection_errors, requeue=False)
        running = in_progress(consumer.pool)
        if task_id in running or (count and any(strikes.of(name_of(other)) for other in running)):
            return consumer.timer.call_after(PAUSE, on_message, (message, body, ack, reject, callbacks))
        return handle(message, body, end, reject, callbacks)

    return on_message


def in_progress(pool: Any) -> set[str]:
    """Return the ids of the tasks that this worker runs or has handed to a child of its pool."""
    handed = getattr(getattr(pool, "_pool", None), "_cache", {})
    return {request.id for request in state.active_requests} | {
        getattr(job, "correlation_id", "") for job in tuple(handed.values())
    }
