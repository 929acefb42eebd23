"""The health of this host, layer by layer: ``python -m celery_on_hosts.health``, or ``celery-health``.

A process that is up may consume nothing, and a worker that consumes may not finish a task; so each layer is asked by
what it does: processes are alive and report → workers consume their queues → a canary task goes round through each
queue → beat has ticked lately → queues are not ageing → the database listens → the web side answers → all run one
release.

Exit codes: 0 healthy, 1 degraded (it works, something needs a look), 2 unhealthy, 3 the check could not run.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import socket
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from . import garbage
from .config import Platform, PlatformError, Program

if TYPE_CHECKING:
    from celery import Celery

HEALTHY, DEGRADED, UNHEALTHY, NO_CHECK = range(4)
STATUS = ("healthy", "degraded", "unhealthy", "unknown")
LAYERS = ("process", "consuming", "canary", "beat", "queues", "database", "web", "flower", "release")

HEARTBEAT_MAX_AGE = 20.0
LOOP_MAX_AGE = 60.0
LOGS = "/var/log/celery"
CURRENT = Path("/opt/celery/current")


@dataclass
class Check:
    """One thing that was looked at. A check that is not ok is an error or a warning, and says what to do."""

    layer: str
    name: str
    ok: bool
    detail: str
    severity: Literal["error", "warning"] = "error"
    advice: str = ""
    seconds: float = 0.0


@dataclass
class Health:
    """All checks of one round."""

    host: str
    release: str | None
    checks: list[Check]

    @property
    def code(self) -> int:
        """The exit code: the worst of the checks."""
        failed = {check.severity for check in self.checks if not check.ok}
        return UNHEALTHY if "error" in failed else DEGRADED if failed else HEALTHY

    def as_json(self) -> dict[str, Any]:
        """The round as it is printed with --json."""
        return {
            "status": STATUS[self.code],
            "host": self.host,
            "release": self.release,
            "checks": [
                asdict(check) | {"severity": "ok" if check.ok else check.severity, "seconds": round(check.seconds, 3)}
                for check in self.checks
            ],
        }


class Inspector:
    """Looks at this host, once or again and again."""

    def __init__(self, platform: Platform, timeout: float = 10.0, canary: bool = True, own: bool = False) -> None:
        """Prepare, look at nothing yet.

        Args:
            platform: what should run here.
            timeout: seconds that a canary, a broker or a web side may take to answer.
            canary: whether to send canary tasks.
            own: send them until each worker of this host has run one, for another host's may take the first. Where
                it has to wait for a turn it may do without.
        """
        self.platform = platform
        self.timeout = timeout
        self.canary = canary
        self.own = own
        self._app: Celery | None = None

    def look(self) -> Health:
        """Look at every layer, once."""
        reports = {program.program: _report(program.program) for program in self._of("worker", "beat")}
        releases: dict[str, str | None] = {}
        checks = [self._process(program, reports[program.program], releases) for program in self._of("worker", "beat")]
        consuming = [self._consuming(program, reports[program.program]) for program in self._of("worker")]
        checks += consuming
        if self.platform.drained:
            checks.append(self._drained())
        with ThreadPoolExecutor() as pool:
            answers = [pool.submit(self._http, program, releases) for program in self._of("web", "flower")]
            if consuming:
                checks += self._queues_and_canaries(all(check.ok for check in consuming))
            checks += [self._beat(program, reports[program.program]) for program in self._of("beat")]
            checks += [*self._database(), *(answer.result() for answer in answers)]
        checks.append(self._release(releases))
        checks.sort(key=lambda check: LAYERS.index(check.layer))
        return Health(socket.gethostname(), _current(), checks)

    def _of(self, *kinds: str) -> Iterator[Program]:
        return (program for program in self.platform.programs if program.kind in kinds)

    def _process(self, program: Program, report: dict[str, Any], releases: dict[str, str | None]) -> Check:
        name = program.program
        advice = f"supervisorctl status {name}; its log: {LOGS}/{name}.log"
        pid = int(report.get("pid") or 0)
        if not report:
            running = _main_process(name)
            if running:
                return Check("process", name, False, f"pid {running} is up but has not reported yet", advice=advice)
            return Check("process", name, False, "is not running", advice=f"supervisorctl start {name}; {advice}")
        if not _alive(report):
            report.clear()  # what a dead process said says nothing about the other layers
            return Check("process", name, False, f"pid {pid}, which reported last, is gone", advice=advice)
        releases[name] = report.get("release")
        age = time.time() - report.get("heartbeat", 0)
        if age > HEARTBEAT_MAX_AGE:
            detail = f"pid {pid} has shown no sign of life for {_span(age)}"
            return Check("process", name, False, detail, advice=f"it hangs: supervisorctl restart {name}; {advice}")
        up = _span(time.time() - report.get("started", time.time()))
        return Check("process", name, True, f"pid {pid}, up {up}")

    def _consuming(self, program: Program, report: dict[str, Any]) -> Check:
        name, queues = program.program, set(report.get("queues", ()))
        missing = sorted(set(program.queues) - queues)
        if not report:
            return Check("consuming", name, False, "no report to read", advice="see process above")
        if report.get("state") == "stopping":
            detail = f"is stopping, {report.get('active', 0)} tasks still run"
            return Check("consuming", name, False, detail, advice="wait for it, or see its log")
        if not report.get("connected"):
            advice = f"is the broker up, and may it log in? See {LOGS}/{name}.log"
            return Check("consuming", name, False, "is not connected to the broker", advice=advice)
        if missing:
            node = program.node or report.get("node", "")
            advice = f"celery control -d {node} add_consumer {missing[0]}, or supervisorctl restart {name}"
            return Check("consuming", name, False, f"does not read {', '.join(missing)}", advice=advice)
        age = time.time() - report.get("loop", time.time())
        if age > LOOP_MAX_AGE and not (report.get("pool") == "solo" and report.get("active")):
            advice = f"it hangs: supervisorctl restart {name}; see {LOGS}/{name}.log"
            return Check("consuming", name, False, f"its main loop has stood still for {_span(age)}", advice=advice)
        detail = f"{', '.join(sorted(queues))}; {report.get('active', 0)} of {report.get('concurrency', '?')} busy"
        return Check("consuming", name, True, detail)

    def _drained(self) -> Check:
        """No worker of the host goes on, whatever it is called."""
        reports = {path.stem: _report(path.stem) for path in _run_dir().glob("*.json")}
        going = sorted(
            name
            for name, report in reports.items()
            if report.get("queues") and report.get("state") != "stopping" and _alive(report)
        )
        if going:
            detail = f"this host is drained, and {', '.join(going)} works on"
            return Check("consuming", "workers", False, detail, advice="make drain HOST=… once more")
        advice = "make undrain HOST=… starts them again"
        return Check("consuming", "workers", False, "stopped: this host is drained", "warning", advice)

    def _beat(self, program: Program, report: dict[str, Any]) -> Check:
        if not report:
            return Check("beat", program.program, False, "no report to read", advice="see process above")
        age = time.time() - report.get("last_tick", 0)
        allowed = max(self.platform.beat_max_age_s, report.get("interval", 0) + 30)
        if age > allowed:
            advice = f"is the broker up? See {LOGS}/{program.program}.log"
            return Check("beat", program.program, False, f"last tick {_span(age)} ago", advice=advice)
        return Check("beat", program.program, True, f"last tick {_span(age)} ago")

    # Broker: depths first, because a canary behind a thousand tasks says nothing about health.

    def _queues_and_canaries(self, consuming: bool) -> list[Check]:
        started = time.monotonic()
        try:
            app = self._load_app()
        except Exception as error:
            advice = f"celery-python -m celery_on_hosts.check --app {self.platform.app}"
            detail = f"the application does not import: {_mask(error)}"
            return [Check("canary", self.platform.app, False, detail, advice=advice)]
        try:
            with app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, timeout=self.timeout)
                depths = dict(self._depths(connection))
        except Exception as error:
            uri = app.connection_for_write().as_uri()
            detail = f"{uri} does not answer: {_mask(error)}"
            seconds = time.monotonic() - started
            return [Check("queues", "broker", False, detail, "error", "is the broker up, and may it log in?", seconds)]
        seconds = time.monotonic() - started
        checks = [self._depth(queue, *depths[queue], seconds) for queue in self.platform.queues]
        checks += [self._parked(queue, depths[queue][0]) for queue in self.platform.parking_queues if queue in depths]
        if self.canary and consuming:
            readable = [queue for queue in self.platform.queues if depths[queue][1] != 0]
            checks += self._canaries(app, readable, depths)
        elif self.canary:
            checks.append(
                Check("canary", "all queues", False, "not sent: a worker does not consume", advice="see above")
            )
        return checks

    def _load_app(self) -> Celery:
        if self._app is None:
            from celery.app.utils import find_app

            sys.path.insert(0, str(Path.cwd()))
            self._app = find_app(os.environ.get("CELERY_APP") or self.platform.app)
            self._app.conf.finalize()
        return self._app

    def _depths(self, connection: Any) -> Iterator[tuple[str, tuple[int, int | None]]]:
        """Messages that wait in each queue, and its consumers (None where the broker cannot tell)."""
        if connection.transport.driver_type != "amqp":
            from .redis_transport import DEAD

            for queue in (*self.platform.queues, DEAD):
                yield queue, (int(connection.default_channel._size(queue)), None)
            return
        for queue in (*self.platform.queues, *self.platform.parking_queues):
            channel = connection.channel()
            try:
                declared = channel.queue_declare(queue, passive=True)
                yield queue, (declared.message_count, declared.consumer_count)
                channel.close()
            except connection.channel_errors:  # there is no such queue; the broker closed the channel
                if queue in self.platform.queues:
                    yield queue, (-1, 0)

    def _depth(self, queue: str, waiting: int, consumers: int | None, seconds: float) -> Check:
        if waiting < 0:
            advice = "celery-python -m celery_on_hosts.check --declare"
            return Check("queues", queue, False, "does not exist", "error", advice, seconds)
        if consumers == 0:
            advice = "start a worker that reads it (celery_workers)"
            return Check("queues", queue, False, f"{waiting} waiting, and nobody reads it", "error", advice, seconds)
        readers = "" if consumers is None else f", {consumers} reading"
        if waiting > self.platform.queue_depth_warning:
            advice = "add workers, or see what holds them up: celery inspect active"
            return Check("queues", queue, False, f"{waiting} waiting{readers}", "warning", advice, seconds)
        return Check("queues", queue, True, f"{waiting} waiting{readers}", seconds=seconds)

    def _parked(self, queue: str, waiting: int) -> Check:
        if waiting:
            advice = "kept, but will not run: celery-dead (make dead) shows them, puts them back or drops them"
            return Check("queues", queue, False, f"{waiting} parked", "warning", advice)
        return Check("queues", queue, True, "empty")

    def _canaries(self, app: Celery, queues: list[str], depths: dict[str, tuple[int, int | None]]) -> list[Check]:
        """Send one to each queue, and again where a worker of this host has to have run one."""
        started = time.monotonic()
        idle = [one for one in self._of("worker") if self.own and not _busy(_report(one.program))]
        silent = {
            queue: {one.node for one in idle if one.node and queue in one.queues and not depths[queue][0]}
            for queue in queues
        }
        checks: dict[str, Check] = {}
        while queues and (not checks or time.monotonic() < started + self.timeout / 2):
            checks |= {check.name: check for check in self._round(app, queues, depths, silent)}
            queues = [queue for queue in queues if checks[queue].ok and silent[queue]]
        for queue in queues:
            nodes = sorted(silent[queue] - {one.node for one in idle if _busy(_report(one.program))})
            if nodes:  # they took none, or what they took went to another host
                detail = f"other workers ran them all, {', '.join(nodes)} none"
                checks[queue] = Check("canary", queue, False, detail, "error", f"its log is in {LOGS}")
        return list(checks.values())

    def _round(
        self, app: Celery, queues: list[str], depths: dict[str, tuple[int, int | None]], silent: dict[str, set[str]]
    ) -> list[Check]:
        """Send one to each queue, then wait for all of them together. Who answers is silent no more."""
        from uuid import uuid4

        from . import canary

        started = time.monotonic()
        retry = {"max_retries": 1, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.2}
        options: dict[str, Any] = {"retry_policy": retry, "confirm_timeout": self.timeout, "expires": 600}
        sent: dict[str, tuple[str, Any]] = {}
        checks: list[Check] = []
        for queue in queues:
            token = uuid4().hex
            try:
                # As the application sends its tasks: send_task leaves out what Task.apply_async checks.
                task = app.tasks[canary.NAME]
                sent[queue] = token, task.apply_async((token,), queue=queue, ignore_result=False, **options)
            except Exception as error:
                advice = "does the broker accept messages (disk or memory alarm)? May the application's tasks be sent: "
                advice += f"celery-python -m celery_on_hosts.check --app {self.platform.app}"
                seconds = time.monotonic() - started
                checks.append(Check("canary", queue, False, f"not accepted: {_mask(error)}", "error", advice, seconds))
        for queue, (token, result) in sent.items():
            left = max(0.1, started + self.timeout - time.monotonic())
            check, node = self._canary(queue, token, result, left, started, depths[queue][0])
            silent[queue].discard(node)
            checks.append(check)
        return checks

    def _canary(
        self, queue: str, token: str, result: Any, left: float, started: float, waiting: int
    ) -> tuple[Check, str]:
        from celery.exceptions import TimeoutError as NotReady

        try:
            answer = result.get(timeout=left, interval=0.05)
            result.forget()
        except NotReady:
            seconds = time.monotonic() - started
            reports = [_report(program.program) for program in self._of("worker") if queue in program.queues]
            if all(map(_busy, reports)) or (waiting and any(map(_tasks, reports))):
                detail = f"not back after {self.timeout:g} s: its workers are busy, {waiting} tasks wait before it"
                advice = "celery inspect active shows by what"
                return Check("canary", queue, False, detail, "warning", advice, seconds), ""
            detail, advice = f"not back after {self.timeout:g} s", "see the log of its worker, and the result store"
        except Exception as error:
            seconds = time.monotonic() - started
            detail, advice = f"no result: {_mask(error)}", "see the log of its worker, and the result store"
        else:
            seconds = time.monotonic() - started
            if answer.get("token") == token:
                detail = f"back from {answer['node']} in {seconds:.2f} s"
                return Check("canary", queue, True, detail, seconds=seconds), answer["node"]
            detail, advice = "came back changed", "does another platform use this broker or result store?"
        finally:
            result.backend = None  # it would unsubscribe when Python shuts down, and fail loudly
        return Check("canary", queue, False, detail, "error", advice, seconds), ""

    def _database(self) -> Iterator[Check]:
        """The server of ``DATABASE_URL`` listens, where it is one that does."""
        url = urllib.parse.urlsplit(os.environ.get("DATABASE_URL", ""))
        if not url.scheme.startswith("postgres") or not url.hostname:
            return
        started, name = time.monotonic(), f"{url.hostname}:{url.port or 5432}"
        try:
            socket.create_connection((url.hostname, url.port or 5432), self.timeout).close()
        except OSError as error:
            seconds = time.monotonic() - started
            yield Check("database", name, False, f"does not answer: {error}", "error", "is PostgreSQL up?", seconds)
        else:
            yield Check("database", name, True, "listens", seconds=time.monotonic() - started)

    def _http(self, program: Program, releases: dict[str, str | None]) -> Check:
        layer: str = program.kind
        started = time.monotonic()
        pid = _main_process(program.program)
        if pid and program.kind == "web":
            releases[program.program] = _release_of_process(pid)
        advice = f"supervisorctl status {program.program}; its log: {LOGS}/{program.program}.log"
        if not program.url:
            detail = f"pid {pid}" if pid else "is not running"
            return Check(layer, program.program, bool(pid), detail, advice="" if pid else advice)
        try:
            status = _get(program.url, self.timeout, program.host)
        except (OSError, http.client.HTTPException, ValueError) as error:
            detail = f"{_mask(program.url)} does not answer: {_mask(error)}"
            return Check(layer, program.program, False, detail, "error", advice, time.monotonic() - started)
        seconds = time.monotonic() - started
        asked = f" (Host: {program.host})" if program.host else ""
        detail = f"{_mask(program.url)}{asked} answers {status}"
        if 200 <= status < program.below:
            return Check(layer, program.program, True, detail, seconds=seconds)
        detail += f", not 200 to {program.below - 1}"
        if layer == "web" and status < 500:
            advice = "is the page right, and that Host allowed? See celery_web_health_path and celery_web_host"
        return Check(layer, program.program, False, detail, "error", advice, seconds)

    def _release(self, releases: dict[str, str | None]) -> Check:
        """Every program runs the release that is current."""
        current = _current()
        if not releases:
            return Check("release", "current", True, current or "none")
        by_release: dict[str, list[str]] = {}
        for program, release in sorted(releases.items()):
            by_release.setdefault(release or "no release", []).append(program)
        text = "; ".join(f"{', '.join(programs)}: {release}" for release, programs in by_release.items())
        if len(by_release) == 1 and (current is None or current in by_release):
            return Check("release", "current", True, next(iter(by_release)))
        behind = [name for release, names in by_release.items() if release != current for name in names]
        advice = f"supervisorctl restart {' '.join(behind)}"
        return Check("release", "current", False, f"{text}; current is {current}", "error", advice)


def _run_dir() -> Path:
    return Path(os.environ.get("CELERY_RUN_DIR") or "/run/celery")


def _report(program: str) -> dict[str, Any]:
    try:
        report = json.loads((_run_dir() / f"{program}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return report if isinstance(report, dict) else {}


def _alive(report: dict[str, Any]) -> bool:
    """Whether the process that reported is there, and no other has got its number."""
    return b"celery" in _proc(int(report.get("pid") or 0), "cmdline")


def _busy(report: dict[str, Any]) -> bool:
    return bool(report) and _tasks(report) >= (report.get("concurrency") or 1)


def _tasks(report: dict[str, Any]) -> int:
    """How many tasks a worker runs, canaries not counted: one that hangs must not be its own excuse."""
    return int(report.get("active", 0)) - int(report.get("canaries", 0))


def _proc(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _main_process(program: str) -> int | None:
    """The oldest process that supervisor started as this program and that we may look into, or None."""
    mark = f"CELERY_PROGRAM={program}".encode()
    pids = sorted(int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
    return next((pid for pid in pids if mark in _proc(pid, "environ").split(b"\0")), None)


def _release_of_process(pid: int) -> str | None:
    from .release import release_of

    try:
        return release_of(Path(f"/proc/{pid}/cwd").readlink())
    except OSError:
        return None


def _current() -> str | None:
    try:
        return CURRENT.readlink().name
    except OSError:
        return None


def _get(url: str, timeout: float, host: str = "") -> int:
    """GET a page and return the status of its answer; a redirect is not followed.

    Args:
        url: the page. ``unix:/path/of/socket:/page`` asks over a socket.
        timeout: seconds that connecting, and each part of the answer, may take.
        host: the request's ``Host``; the URL's own when empty.
    """
    if url.startswith("unix:"):
        path, _, page = url.removeprefix("unix:").rpartition(":")
        connection: http.client.HTTPConnection = http.client.HTTPConnection("localhost", timeout=timeout)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(timeout)
        connection.sock.connect(path)
    else:
        parts = urllib.parse.urlsplit(url)
        make: Callable[..., http.client.HTTPConnection] = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        connection = make(parts.hostname or "127.0.0.1", parts.port, timeout=timeout)
        page = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("GET", page, headers={"Host": host} if host else {})
        return connection.getresponse().status
    finally:
        connection.close()


def _mask(text: object) -> str:
    """A message in one line, without the password of any URL in it."""
    line = " ".join(str(text).split()) or type(text).__name__
    return re.sub(r"(\w+://[^\s:@/]*):[^\s@]+@", r"\1:**@", line)


def _span(seconds: float) -> str:
    seconds = max(0, int(seconds))
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 7200:
        return f"{seconds // 60} min"
    return f"{seconds // 3600} h" if seconds < 172800 else f"{seconds // 86400} days"


def show(health: Health) -> str:
    """The round as a table for people, with what to do about each failure."""
    width = max((len(check.name) for check in health.checks), default=0)
    lines = [f"{health.host}: {STATUS[health.code]}, release {health.release or 'none'}"]
    for check in health.checks:
        mark = "✓" if check.ok else "!" if check.severity == "warning" else "✗"
        lines.append(f"  {mark} {check.layer:<9}  {check.name:<{width}}  {check.detail}")
        if not check.ok and check.advice:
            lines.append(f"    {'':<9}  {'':<{width}}  → {check.advice}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run the check from the command line.

    Args:
        argv: arguments; those of the process when None.

    Returns:
        the exit code, see the module.
    """
    parser = argparse.ArgumentParser(prog="celery-health", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print the checks as JSON")
    parser.add_argument("--timeout", type=float, default=10.0, metavar="S", help="seconds for each answer (10)")
    parser.add_argument(
        "--wait",
        type=float,
        default=0.0,
        metavar="S",
        help="try again until it works, at most S seconds; with the canaries until each worker of this host ran one",
    )
    parser.add_argument("--no-canary", action="store_true", help="send no canary tasks")
    options = parser.parse_args(argv)
    try:
        inspector = Inspector(Platform.load(), options.timeout, not options.no_canary, own=options.wait > 0)
    except PlatformError as error:
        if options.json:
            print(json.dumps({"status": STATUS[NO_CHECK], "host": socket.gethostname(), "error": str(error)}))
        print(f"error: {error}", file=sys.stderr)
        return NO_CHECK
    deadline = time.monotonic() + options.wait
    health = inspector.look()
    # What is degraded works, and often stays so (dead letters): there is nothing to wait for.
    while health.code == UNHEALTHY and time.monotonic() < deadline:
        time.sleep(0.5)
        health = inspector.look()
    print(json.dumps(health.as_json(), indent=1) if options.json else show(health))
    return health.code


if __name__ == "__main__":
    garbage.put_off()
    sys.exit(main())
