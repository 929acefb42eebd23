"""A look at all layers of a host's health."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from .. import processes
from ..platform_file import Platform, Program
from ..text import one_line
from . import beat, consuming, database, heartbeats, process, queues, release, upstream, web
from .report import LAYERS, Check, Health

if TYPE_CHECKING:
    from celery import Celery


class Inspector:
    """Looks at this host, once or again and again.

    Args:
        platform: what should run here.
        timeout: seconds that a canary, a broker or a web side may take to answer.
        canary: whether to send canary tasks.
        own: whether each idle worker of this host has to run a canary.
    """

    def __init__(self, platform: Platform, timeout: float = 10.0, canary: bool = True, own: bool = False) -> None:
        self.platform = platform
        self.timeout = timeout
        self.canary = canary
        self.own = own
        self._app: Celery | None = None

    def look(self) -> Health:
        """Look at every layer, once."""
        found = {program.program: heartbeats.read(program.program) for program in self._of("worker", "beat")}
        checks = [process.check(name, heartbeat) for name, heartbeat in found.items()]
        # What a dead process said says nothing about the other layers.
        found = {name: heartbeat if heartbeats.is_alive(heartbeat) else {} for name, heartbeat in found.items()}
        consumers = [consuming.check(program, found[program.program]) for program in self._of("worker")]
        checks += consumers
        if self.platform.drained:
            checks.append(consuming.check_drained())
        with ThreadPoolExecutor() as pool:
            answers = [pool.submit(web.check, program, self.timeout) for program in self._of("web", "flower")]
            if consumers:
                checks += self._broker(all(check.ok for check in consumers))
            max_age = self.platform.beat_max_age_s
            checks += [beat.check(program.program, found[program.program], max_age) for program in self._of("beat")]
            checks += [*database.check(self.timeout), *(answer.result() for answer in answers)]
        checks.append(release.check(self._releases(found)))
        for name, heartbeat in found.items():
            checks += upstream.check(name, heartbeat)
        checks.sort(key=lambda check: LAYERS.index(check.layer))
        return Health(socket.gethostname(), release.current(), checks)

    def _of(self, *kinds: str) -> Iterator[Program]:
        return (program for program in self.platform.programs if program.kind in kinds)

    def _releases(self, found: dict[str, heartbeats.Heartbeat]) -> dict[str, str | None]:
        """Return the release that each program runs, where it can be asked."""
        running = {name: heartbeat.get("release") for name, heartbeat in found.items() if heartbeat}
        for program in self._of("web"):
            pid = processes.main_process(program.program)
            if pid:
                running[program.program] = release.of_process(pid)
        return running

    def _broker(self, consuming: bool) -> list[Check]:
        """Check the queues, then the canaries: a canary behind a thousand tasks says nothing about health.

        Args:
            consuming: whether all workers of this host consume.
        """
        started = time.monotonic()
        try:
            from .. import own_queues  # with kombu, which a host without workers does not need

            app = self._load_app()
        except Exception as error:
            advice = f"celery-python -m celery_on_hosts.check --app {self.platform.app}"
            detail = f"the application does not import: {one_line(error)}"
            return [Check("canary", self.platform.app, False, detail, advice=advice)]
        try:
            with app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, timeout=self.timeout)
                depths = queues.depths(connection, self.platform, own_queues.broadcasts(app))
        except Exception as error:
            detail = f"{app.connection_for_write().as_uri()} does not answer: {one_line(error)}"
            advice, seconds = "is the broker up, and may this host log in?", time.monotonic() - started
            return [Check("queues", "broker", False, detail, "error", advice, seconds)]
        checks = [*queues.check(depths, self.platform, time.monotonic() - started)]
        if self.canary and consuming:
            from .canaries import Canaries  # and Celery with it, which a host without workers does not need

            checks += Canaries(app, self.platform, depths, self.timeout).check(self.own)
        elif self.canary:
            detail = "not sent: a worker does not consume"
            checks.append(Check("canary", "all queues", False, detail, advice="see above"))
        return checks

    def _load_app(self) -> Celery:
        if self._app is None:
            from celery.app.utils import find_app

            from .. import result_store

            sys.path.insert(0, str(Path.cwd()))
            self._app = find_app(os.environ.get("CELERY_APP") or self.platform.app)
            self._app.conf.finalize()
            result_store.prepare(self._app)
        return self._app
