"""The app as it runs: a Redis, a worker and a web server of their own, or the deployed app that `TASKS_URL` names."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from unit_settings import BARE

APP = Path(__file__).resolve().parent.parent
WORKER = ["--concurrency", "4", "-l", "INFO", "-n", "live@here", "--without-gossip", "--without-mingle"]


def server(name: str) -> str | None:
    """Return the path of a server: the machine's, or in this clone Debian's."""
    of_the_clone = APP.parent / "bin" / name
    return shutil.which(name) or (str(of_the_clone) if of_the_clone.exists() else None)


REDIS, MEMCACHED = server("redis-server"), server("memcached")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def until(holds: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """Return the first true answer; raise AssertionError if there is none in time."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        time.sleep(0.05)
    return found


def succeeded(answer: Any) -> bool:
    """Return whether the events of a run tell of a task that succeeded.

    For tasks that are retried at once: plain Celery reads a result and writes it in two steps, so that the state RETRY
    of one attempt may replace the SUCCESS of the next.
    """
    return "succeeded" in [event["kind"] for event in answer["events"]]


class Live:
    """Asks the app over HTTP, as anybody does."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, path: str, body: Any = None) -> Any:
        """GET, or POST the body; return the JSON that is answered, an error's too."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
                return json.load(response)
        except HTTPError as error:
            return json.load(error)

    def start(self, example: str, **arguments: Any) -> str:
        """Run an example; return the address of the run."""
        answer = self.ask(f"/api/examples/{example}", {"arguments": arguments})
        assert "url" in answer, answer
        return str(answer["url"])

    def reaches(self, url: str, holds: Callable[[Any], Any], seconds: float = 60) -> Any:
        """Return the first document at an address for which this holds."""
        seen: list[Any] = [None]

        def now() -> bool:
            seen[0] = self.ask(url)
            return bool(holds(seen[0]))

        try:
            until(now, url, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {seen[0]}") from None
        return seen[0]

    def run(self, example: str, **arguments: Any) -> Any:
        """Run an example to its end; return the run."""
        return self.reaches(self.start(example, **arguments), lambda run: run["ready"])

    def result(self, example: str, **arguments: Any) -> Any:
        """Run an example to its end; return the result of its last task, or of all that are its group's."""
        run = self.run(example, **arguments)
        failed = [task["error"] for task in run["tasks"] if task["error"]]
        assert not failed, failed
        return run["result"]


class Local(Live):
    """The app on this machine, in a folder.

    Args:
        folder: for the database and the logs.
        environment: what the programs have beside the addresses.
    """

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.redis_port, port = free_port(), free_port()
        super().__init__(f"http://127.0.0.1:{port}")
        redis = f"redis://127.0.0.1:{self.redis_port}"
        self.environment = {
            **BARE,
            "CELERY_BROKER_URL": f"{redis}/0",
            "CELERY_RESULT_BACKEND": f"{redis}/1",
            "DATABASE_URL": f"sqlite:///{folder}/db.sqlite3",
            "SECRET_KEY": "only-for-tests",
            "URL_CHECK_ALLOW": f"127.0.0.1:{port}",
            **environment,
        }
        self.started: list[subprocess.Popen[bytes]] = []
        assert REDIS
        self.spawn("redis", REDIS, "--port", str(self.redis_port), "--dir", str(folder), "--save", "")
        if MEMCACHED:
            memcached = free_port()
            self.spawn("memcached", MEMCACHED, "-u", "nobody", "-l", "127.0.0.1", "-p", str(memcached))
            self.environment["MEMCACHED_URL"] = f"cache+memcached://127.0.0.1:{memcached}/"
        self.worker = self.spawn("worker", sys.executable, "-m", "celery", "-A", "tasks", "worker", *WORKER)
        serve = ["-m", "gunicorn", "tasks.wsgi", "--bind", f"127.0.0.1:{port}", "--threads", "8", "--no-control-socket"]
        self.spawn("web", sys.executable, *serve)
        subprocess.run([sys.executable, "manage.py", "migrate", "-v", "0"], cwd=APP, env=self.environment, check=True)
        until(lambda: b" ready." in (folder / "worker.log").read_bytes(), f"the worker is ready; see {folder}/*.log")
        until(self.answers, f"the app answers; see {folder}/*.log")

    def environment_on(self, database: int) -> dict[str, str]:
        """The environment of a program that has a broker for itself, and its results, in another Redis database."""
        url = f"redis://127.0.0.1:{self.redis_port}/{database}"
        return {**self.environment, "CELERY_BROKER_URL": url, "CELERY_RESULT_BACKEND": url}

    def spawn(self, name: str, *command: str, environment: dict[str, str] | None = None) -> "subprocess.Popen[bytes]":
        """Start a program that ends with this; its output is in the folder, in NAME.log."""
        env = environment or self.environment
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(command, cwd=APP, env=env, stdout=log, stderr=log, start_new_session=True)
        self.started.append(process)
        return process

    def answers(self) -> bool:
        try:
            return bool(self.ask("/readyz")["status"] == "ok")
        except OSError:
            return False

    def close(self) -> None:
        for process in reversed(self.started):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
