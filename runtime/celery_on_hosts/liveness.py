"""Heartbeats of workers and beat: one small file a program, written every few seconds.

The files need no broker, so they tell a dead process from a broker that is away. They are ``<program>.json`` in
``names.run_dir()``. Only programs that supervisor started (``CELERY_PROGRAM``) write one.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from celery import bootsteps, signals
from celery.utils.log import get_logger
from celery.worker import state

from . import canary, names, own_queues, processes, upstream
from .couplings import BEAT_TICK
from .files import read_object, write_atomically
from .release import RELEASE

INTERVAL = 5.0  # seconds

logger = get_logger(__name__)


class Reporter:
    """Writes a program's heartbeat from a thread of its own, until the process ends.

    A thread, because the main loop stands still while the broker is away (and, in a solo worker, while a task runs).

    Args:
        program: supervisor's name of the program.
        kind: ``worker`` or ``beat``.
        describe: called for each heartbeat; returns what it holds besides the common fields.
    """

    def __init__(self, program: str, kind: str, describe: Callable[[], dict[str, Any]]) -> None:
        self.path = names.heartbeat_file(program)
        self.describe = describe
        self.pid = os.getpid()
        self.common: dict[str, Any] = {
            "program": program,
            "kind": kind,
            "pid": self.pid,
            "release": RELEASE,
            "started": time.time(),
            "left_out": sorted(upstream.left_out.values()),
        }
        self.wake = threading.Event()
        self._lock = threading.Lock()
        self._failed = self._ended = False

    def start(self) -> None:
        """Write the first heartbeat now, and one every INTERVAL seconds from now on."""
        self.write()
        atexit.register(self.remove)
        threading.Thread(target=self._run, name="celery-on-hosts-liveness", daemon=True).start()

    def write(self) -> None:
        """Replace the file. An error is logged, once until it is over: a full disk must not stop a worker."""
        try:
            report = {**self.common, "heartbeat": time.time(), **self.describe()}
            with self._lock:
                if not self._ended and not self._has_successor():
                    write_atomically(self.path, json.dumps(report))
        except Exception as error:
            if not self._failed:
                self._failed = True
                logger.warning("liveness: cannot write %s, health will call this program dead: %s", self.path, error)
        else:
            self._failed = False

    def _has_successor(self) -> bool:
        """Return whether a younger process of the program lives: this one is handed over, the file is the other's."""
        other = read_object(self.path)
        younger = other.get("pid") != self.pid and other.get("started", 0) > self.common["started"]
        return younger and processes.exists(other["pid"])

    def remove(self) -> None:
        """Remove the file at the end of the process that made it, unless its successor already wrote one."""
        if os.getpid() != self.pid:
            return
        with self._lock, contextlib.suppress(OSError):
            self._ended = True
            if read_object(self.path).get("pid") == self.pid:
                self.path.unlink()

    def _run(self) -> None:
        while True:
            self.wake.wait(INTERVAL)
            self.wake.clear()
            self.write()


class WorkerLiveness(bootsteps.StartStopStep):
    """The worker's step that sends its heartbeat."""

    label = "Liveness"

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self.worker = worker
        self.loop = time.time()

    def include_if(self, worker: Any) -> bool:
        """Return whether supervisor started the worker; a worker that was started by hand must not pass for it."""
        return bool(names.program())

    def start(self, worker: Any) -> None:
        """Begin. A worker in a thread, of the web side for example, must not pass for the program."""
        if not in_main_thread():
            return
        reporter = Reporter(names.program(), "worker", self.describe)
        reporter.start()
        # Report at once that the worker is ready: a deployment waits for it.
        signals.worker_ready.connect(lambda **_: reporter.wake.set(), weak=False)

    def stop(self, worker: Any) -> None:
        """Go on: a warm stop takes as long as its tasks, and the process is alive until it ends."""

    terminate = stop

    def describe(self) -> dict[str, Any]:
        """Return the worker's fields of the heartbeat.

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
            "queues": sorted(own_queues.name_of(queue) for queue in tasks.queues) if tasks else [],
            "pool": type(worker.pool).__module__.rpartition(".")[2],
            "concurrency": getattr(worker.pool, "num_processes", None) or worker.concurrency,
            "active": len(state.active_requests),
            "canaries": sum(request.name == canary.NAME for request in tuple(state.active_requests)),
            "reserved": len(state.reserved_requests),
        }

    def _turned(self) -> None:
        self.loop = time.time()


def in_main_thread() -> bool:
    """Return whether this is the main thread of the process, as Linux sees it: eventlet changes what Python says."""
    return threading.get_native_id() == os.getpid()


def watch_beat(service: Any) -> None:
    """Send beat's heartbeat, with the time at which its scheduler last finished a tick.

    Args:
        service: the ``celery.beat.Service`` that is about to start.
    """
    program = names.program()
    if not program or not in_main_thread() or _is_child():
        return  # started by hand, or embedded in a worker (-B), whose file it is
    report: dict[str, Any] = {"app": service.app.main, "last_tick": time.time(), "interval": 0.0}
    if BEAT_TICK.fits():
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
