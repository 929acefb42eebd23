"""Signs of life of workers and beat: one small file a program, written every few seconds.

The files need no broker, so they tell a dead process from a broker that is away: ``/run/celery/<program>.json``, or in
the folder that ``CELERY_RUN_DIR`` names. Only programs that supervisor started (``CELERY_PROGRAM``) write one.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from celery import bootsteps, signals
from celery.utils.log import get_logger
from celery.worker import state

from . import canary
from .release import RELEASE

INTERVAL = 5.0

logger = get_logger(__name__)


def run_dir() -> Path:
    """The folder of the files."""
    return Path(os.environ.get("CELERY_RUN_DIR") or "/run/celery")


class Reporter:
    """Writes a program's file from a thread of its own, until the process ends.

    A thread, because the main loop stands still while the broker is away (and, in a solo worker, while a task runs).
    """

    def __init__(self, program: str, kind: str, describe: Callable[[], dict[str, Any]]) -> None:
        """Prepare, write nothing yet.

        Args:
            program: supervisor's name of the program.
            kind: ``worker`` or ``beat``.
            describe: called for each report; returns what it holds besides the common fields.
        """
        self.path = run_dir() / f"{program}.json"
        self.describe = describe
        self.pid = os.getpid()
        self.common = {"program": program, "kind": kind, "pid": self.pid, "release": RELEASE, "started": time.time()}
        self.wake = threading.Event()
        self._lock = threading.Lock()
        self._failed = self._ended = False

    def start(self) -> None:
        """Write the first report now, and one every INTERVAL seconds from now on."""
        self.write()
        atexit.register(self.remove)
        threading.Thread(target=self._run, name="celery-on-hosts-liveness", daemon=True).start()

    def write(self) -> None:
        """Replace the file in one step. What goes wrong is logged once: a full disk must not stop a worker."""
        try:
            report = {**self.common, "heartbeat": time.time(), **self.describe()}
            scratch = self.path.with_name(f".{self.path.name}.{self.pid}")
            with self._lock:
                if not self._ended and not self._succeeded():
                    scratch.write_text(json.dumps(report), encoding="utf-8")
                    scratch.replace(self.path)
        except Exception as error:
            if not self._failed:
                self._failed = True
                logger.warning("liveness: cannot write %s, health will call this program dead: %s", self.path, error)
        else:
            self._failed = False

    def _succeeded(self) -> bool:
        """Whether a younger process of the same program lives: it is handed over, and the report is that one's."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            other = json.loads(self.path.read_text(encoding="utf-8"))
            younger = other["pid"] != self.pid and other["started"] > self.common["started"]
            return bool(younger and Path(f"/proc/{other['pid']}").exists())
        return False

    def remove(self) -> None:
        """Take the file away at the end of the process that made it, unless its successor already wrote one."""
        if os.getpid() != self.pid:
            return
        with self._lock, contextlib.suppress(OSError, ValueError, KeyError):
            self._ended = True
            if json.loads(self.path.read_text(encoding="utf-8"))["pid"] == self.pid:
                self.path.unlink()

    def _run(self) -> None:
        while True:
            self.wake.wait(INTERVAL)
            self.wake.clear()
            self.write()


class WorkerLiveness(bootsteps.StartStopStep):
    """The worker's step that reports it."""

    label = "Liveness"

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self.worker = worker
        self.loop = time.time()

    def include_if(self, worker: Any) -> bool:
        """Only in a program of supervisor's; a worker started by hand must not pass for it."""
        return bool(os.environ.get("CELERY_PROGRAM"))

    def start(self, worker: Any) -> None:
        """Start to report. A worker in a thread must not pass for the program, of the web side for one."""
        if not in_main_thread():
            return
        reporter = Reporter(os.environ["CELERY_PROGRAM"], "worker", self.describe)
        reporter.start()
        # Ready is worth telling at once: a deployment waits for it.
        signals.worker_ready.connect(lambda **_: reporter.wake.set(), weak=False)

    def stop(self, worker: Any) -> None:
        """Go on: a warm stop takes as long as its tasks, and the process is alive until it ends."""

    terminate = stop

    def describe(self) -> dict[str, Any]:
        """Say how the worker is.

        ``loop`` is when its main loop last turned: it stands still while the broker is away, and in a solo worker
        while a task runs. ``connected`` is true while the worker consumes.
        """
        worker, consumer = self.worker, getattr(self.worker, "consumer", None)
        connection, tasks = getattr(consumer, "connection", None), getattr(consumer, "task_consumer", None)
        if consumer is not None:
            consumer.call_soon(self._turned)
        running = worker.blueprint is not None and worker.blueprint.state == bootsteps.RUN
        return {
            "node": worker.hostname,
            "app": worker.app.main,
            "state": "running" if running else "stopping",
            "connected": bool(running and tasks and connection and connection.connected),
            "loop": self.loop,
            "queues": sorted(queue.name for queue in tasks.queues) if tasks else [],
            "pool": type(worker.pool).__module__.rpartition(".")[2],
            "concurrency": getattr(worker.pool, "num_processes", None) or worker.concurrency,
            "active": len(state.active_requests),
            "canaries": sum(request.name == canary.NAME for request in tuple(state.active_requests)),
            "reserved": len(state.reserved_requests),
        }

    def _turned(self) -> None:
        self.loop = time.time()


def in_main_thread() -> bool:
    """Whether this is the main thread of the process; asked of Linux, for eventlet changes what Python says."""
    return threading.get_native_id() == os.getpid()


def watch_beat(service: Any) -> None:
    """Report a beat: alive every few seconds, and when its scheduler last finished a tick.

    Args:
        service: the ``celery.beat.Service`` that is about to start.
    """
    program = os.environ.get("CELERY_PROGRAM")
    if not program or not in_main_thread() or _is_child():
        return  # by hand, or embedded in a worker (-B), whose file it is
    report: dict[str, Any] = {"app": service.app.main, "last_tick": time.time(), "interval": 0.0}
    scheduler_tick = service.scheduler.tick

    def tick(*args: Any, **kwargs: Any) -> Any:
        interval = scheduler_tick(*args, **kwargs)
        report.update(last_tick=time.time(), interval=float(interval or 0))
        return interval

    service.scheduler.tick = tick
    Reporter(program, "beat", lambda: dict(report)).start()


def _is_child() -> bool:
    from billiard import current_process

    return bool(current_process().name != "MainProcess")
