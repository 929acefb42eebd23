"""The layer ``canary``: a task that is sent to each queue returns through a worker and the result store."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from .. import canary
from ..names import LOG_DIR
from ..platform_file import Platform
from ..text import one_line
from . import heartbeats
from .queues import Depth
from .report import Check

if TYPE_CHECKING:
    from celery import Celery

PUBLISH_RETRY = {"max_retries": 1, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.2}
EXPIRES = 600  # seconds until a canary that nobody has run is discarded


class Canaries:
    """Sends canaries, and waits for them.

    Args:
        app: the application.
        platform: what should run here.
        depths: what the broker said of each queue.
        timeout: seconds that a canary may take.
    """

    def __init__(self, app: Celery, platform: Platform, depths: dict[str, Depth], timeout: float) -> None:
        self.app = app
        self.platform = platform
        self.depths = depths
        self.timeout = timeout
        self.workers = [program for program in platform.programs if program.kind == "worker"]

    def check(self, own: bool) -> list[Check]:
        """Send a canary to each queue that exists, and check that it returns.

        Args:
            own: send more until each idle worker of this host has run a canary, for at most half of the timeout:
                workers of other hosts may take the first.
        """
        started = time.monotonic()
        queues = [queue for queue in self.platform.queues if self.depths[queue].consumers != 0]
        silent = {queue: self._idle_nodes(queue) if own else set() for queue in queues}
        checks: dict[str, Check] = {}
        while queues and (not checks or time.monotonic() < started + self.timeout / 2):
            for queue, (check, node) in self._send_and_wait(queues).items():
                checks[queue] = check
                silent[queue].discard(node)
            queues = [queue for queue in queues if checks[queue].ok and silent[queue]]
        for queue in queues:
            # Without a worker that has become busy since, and need not answer.
            nodes = sorted(silent[queue] & self._idle_nodes(queue))
            if nodes:  # they took no canary, or the canaries that they took went to another host
                detail = f"other workers ran them all, {', '.join(nodes)} none"
                checks[queue] = Check("canary", queue, False, detail, "error", f"its log is in {LOG_DIR}")
        return list(checks.values())

    def _idle_nodes(self, queue: str) -> set[str]:
        """Return the nodes of this host that have no reason to be late with a canary of the queue."""
        if self.depths[queue].waiting or self.depths[queue].broadcast:
            return set()
        return {
            worker.node
            for worker in self.workers
            if worker.node and queue in worker.queues and not heartbeats.busy(heartbeats.read(worker.program))
        }

    def _send_and_wait(self, queues: Sequence[str]) -> dict[str, tuple[Check, str]]:
        """Send a canary to each queue, then wait for all of them together.

        Returns:
            for each queue the check, and the node that ran the canary: empty when none did.
        """
        started = time.monotonic()
        sent: dict[str, tuple[str, Any]] = {}
        found: dict[str, tuple[Check, str]] = {}
        for queue in queues:
            token = uuid4().hex
            try:
                sent[queue] = token, self._send(queue, token)
            except Exception as error:
                advice = "does the broker accept messages (disk or memory alarm)? May the application's tasks be sent: "
                advice += f"celery-python -m celery_on_hosts.check --app {self.platform.app}"
                detail, seconds = f"not accepted: {one_line(error)}", time.monotonic() - started
                found[queue] = Check("canary", queue, False, detail, "error", advice, seconds), ""
        for queue, (token, result) in sent.items():
            found[queue] = self._wait(queue, token, result, started)
        return found

    def _send(self, queue: str, token: str) -> Any:
        """Send a canary as the application sends its tasks: send_task() leaves out what apply_async() checks."""
        task = self.app.tasks[canary.NAME]
        with self.app.producer_or_acquire() as producer:
            if task.backend is not self.app.backend:  # Celery asks the application's alone
                task.backend.on_task_call(producer, token)
            return task.apply_async(
                (token,),
                queue=queue,
                ignore_result=False,
                retry_policy=PUBLISH_RETRY,
                confirm_timeout=self.timeout,
                expires=EXPIRES,
                producer=producer,
            )

    def _wait(self, queue: str, token: str, result: Any, started: float) -> tuple[Check, str]:
        """Wait for a canary until ``timeout`` seconds after ``started`` (monotonic)."""
        from celery.exceptions import TimeoutError as NotReady

        advice = "see the log of its worker, and the result store"
        try:
            answer = result.get(timeout=max(0.1, started + self.timeout - time.monotonic()), interval=0.05)
            with contextlib.suppress(NotImplementedError):  # not every store can
                result.forget()
        except NotReady:
            return self._late(queue, time.monotonic() - started, advice), ""
        except Exception as error:
            detail = f"no result: {one_line(error)}"
            return Check("canary", queue, False, detail, "error", advice, time.monotonic() - started), ""
        finally:
            result.backend = None  # it would unsubscribe when Python shuts down, and fail loudly
        seconds = time.monotonic() - started
        if answer.get("token") != token:
            advice = "does another platform use this broker or result store?"
            return Check("canary", queue, False, "came back changed", "error", advice, seconds), ""
        detail = f"back from {answer['node']} in {seconds:.2f} s"
        return Check("canary", queue, True, detail, seconds=seconds), answer["node"]

    def _late(self, queue: str, seconds: float, advice: str) -> Check:
        """Tell a canary that waits for its turn, which is a warning, from one that is lost."""
        waiting = self.depths[queue].waiting
        found = [heartbeats.read(worker.program) for worker in self.workers if queue in worker.queues]
        detail = f"not back after {self.timeout:g} s"
        if all(map(heartbeats.busy, found)) or (waiting and any(map(heartbeats.tasks, found))):
            detail += f": its workers are busy, {waiting} tasks wait before it"
            return Check("canary", queue, False, detail, "warning", "celery inspect active shows by what", seconds)
        return Check("canary", queue, False, detail, "error", advice, seconds)
