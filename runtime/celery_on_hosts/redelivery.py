"""What becomes of a message that a worker is given again.

A worker that lost its connection cannot acknowledge what it has in hand, so the broker delivers it again, often to
the same worker. What that has just finished it acknowledges, and what it still runs it waits for: a broker that is
restarted makes nothing run twice. (Celery's ``worker_deduplicate_successful_tasks`` goes by the result store, where a
success may stand whose chord was never told; only the process that ran a task knows that all of it was done.)

A task that kills its worker is parked before its neighbours are. The broker counts every message that a dead worker
had in hand, also those that had only been fetched: when such a task reaches the delivery limit, so do they. Each task
that runs is a file in ``/run/celery/<program>.running/<pid>/`` while it does, and what is there of a worker that is no
more was running when it died. That is a strike against it. From the first on it runs only while no other struck one
does, so that an innocent task that ran beside it proves itself; with ``crash_limit`` strikes it is rejected, which
parks it on either broker.

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
from pathlib import Path
from typing import Any
from urllib.parse import quote

from celery import Celery, Task, bootsteps, signals
from celery.utils.log import get_logger
from celery.worker import state, strategy
from celery.worker.request import Request

from .liveness import run_dir

KEPT_SECONDS = 86_400.0
PAUSE = 0.5  # seconds until a task that has to wait asks again

logger = get_logger(__name__)


class Strikes:
    """How often each task was running when this program's worker died.

    Args:
        program: supervisor's name of the worker.
        limit: so many are too many.
    """

    def __init__(self, program: str, limit: int) -> None:
        self.program = run_dir() / f"{program}.running"
        self.running = self.program / str(os.getpid())  # a predecessor may still run what it holds
        self.path = run_dir() / f"{program}.strikes.json"
        self.limit = limit
        self.counts: dict[str, tuple[int, float]] = {}
        self._ended: dict[str, Any] = {}

    def end(self, task_id: str, message: Any) -> None:
        """Remember the message of a task that has ended, while it is not acknowledged."""
        if len(self._ended) > 100:
            self._ended = {one: kept for one, kept in self._ended.items() if not kept.acknowledged}
        self._ended[task_id] = message

    def unsettled(self, task_id: str) -> bool:
        """Whether a task ended here and its message could not be acknowledged.

        One that was acknowledged is another's: an application may send a task again with the same id.
        """
        message = self._ended.get(task_id)
        return message is not None and not message.acknowledged

    def read(self) -> None:
        """Find out what was running when the last worker died, and begin anew. Nothing is left of one that stopped."""
        now = time.time()
        with contextlib.suppress(OSError, ValueError):
            known = json.loads(self.path.read_text(encoding="utf-8"))
            self.counts = {name: (n, when) for name, (n, when) in known.items() if when > now - KEPT_SECONDS}
        self.running.mkdir(parents=True, exist_ok=True)
        for folder in self.program.iterdir():
            if folder != self.running and Path(f"/proc/{folder.name}").exists():
                continue
            for file in sorted(folder.iterdir()):
                self.counts[file.name] = (self.of(file.name) + 1, now)
                logger.warning("task %s ran when this worker died: %d of %d", file.name, self.of(file.name), self.limit)
                file.unlink(missing_ok=True)
            if folder != self.running:
                folder.rmdir()
        self.write()

    def write(self) -> None:
        """Keep them for the next worker."""
        scratch = self.path.with_suffix(".new")
        scratch.write_text(json.dumps(self.counts), encoding="utf-8")
        scratch.replace(self.path)

    def forget(self, name: str) -> None:
        """Begin anew with a task that was put back by hand."""
        del self.counts[name]
        with contextlib.suppress(OSError):
            self.write()

    def of(self, name: str) -> int:
        """The strikes against a task, by its file's name."""
        return self.counts.get(name, (0, 0.0))[0]

    def begins(self, task_id: str = "", **_: Any) -> None:
        """Mark a task as running."""
        with contextlib.suppress(OSError):
            os.close(os.open(self.running / name_of(task_id), os.O_CREAT | os.O_WRONLY, 0o600))

    def ends(self, task_id: str = "", **_: Any) -> None:
        """Take the mark away."""
        with contextlib.suppress(OSError):
            (self.running / name_of(task_id)).unlink()

    def stopped(self, **_: Any) -> None:
        """Nothing runs any more: what is still marked was ended otherwise, by its time limit for one."""
        shutil.rmtree(self.running, ignore_errors=True)


def name_of(task_id: str) -> str:
    """The name of a task's file: an id may hold any characters."""
    return quote(task_id, safe="")[:200]


def run_again_what_was_killed() -> None:
    """Make the change in this process; done twice it is done once. Celery before 5.7 does not look at the result."""
    settled = getattr(Request, "_success_was_stored", None)
    if settled is None or hasattr(settled, "__wrapped__"):
        return

    @wraps(settled)
    def _success_was_stored(self: Any) -> Any:
        if self.task.acks_late and self.task.reject_on_worker_lost:
            return False
        return settled(self)

    Request._success_was_stored = _success_was_stored


class Guard(bootsteps.StartStopStep):
    """The worker's step that gets ready before the first message is received."""

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self.enabled = False  # there is nothing to start or stop
        run_again_what_was_killed()
        program = os.environ.get("CELERY_PROGRAM")
        if not program:
            return  # started by hand
        strikes = Strikes(program, worker.app.loader.platform.crash_limit)
        try:
            strikes.read()
        except OSError as error:
            logger.warning("a task that kills this worker will not be told from its neighbours: %s", error)
            return
        worker.app.strikes = strikes
        # Before the pool makes its children, which run the tasks.
        signals.task_prerun.connect(strikes.begins, weak=False)
        signals.task_postrun.connect(strikes.ends, weak=False)
        signals.worker_shutdown.connect(strikes.stopped, weak=False)
        Task.Strategy = f"{__name__}:receive"  # of all tasks that have none of their own


def receive(task: Any, app: Celery, consumer: Any, **kwargs: Any) -> Callable[..., Any]:
    """Celery's strategy, with a look at what was delivered before.

    Args:
        task: that messages are received for.
        app: whose it is.
        consumer: the worker's.
        kwargs: for Celery's strategy.
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
            logger.error("task %s killed its worker %d times and is parked in celery.dead", task_id, count)
            return reject(logger, consumer.connection_errors, requeue=False)
        running = in_progress(consumer.pool)
        if task_id in running or (count and any(strikes.of(name_of(other)) for other in running)):
            return consumer.timer.call_after(PAUSE, on_message, (message, body, ack, reject, callbacks))
        return handle(message, body, end, reject, callbacks)

    return on_message


def in_progress(pool: Any) -> set[str]:
    """The ids of the tasks that this worker runs or has handed to a child of its pool."""
    handed = getattr(getattr(pool, "_pool", None), "_cache", {})
    return {request.id for request in state.active_requests} | {
        getattr(job, "correlation_id", "") for job in tuple(handed.values())
    }
