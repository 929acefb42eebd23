import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from celery.contrib.testing.worker import start_worker
from django.db import OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper
from kombu.exceptions import OperationalError as BrokerError
from live import REDIS, Live, Local
from unit_settings import BARE

from tasks import app, service

APP = Path(__file__).resolve().parent.parent
OPTIONS = ["-l", "INFO", "-c", "1", "-n", "unit@here", "--without-gossip", "--without-mingle"]


@pytest.fixture  # for one test: what it records between two tests, which share its database, makes the second fail
def worker() -> Iterator[None]:
    """A worker in a thread of this process, on the broker in its memory."""
    app.control.purge()  # what earlier tests submitted
    with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=10):
        yield


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """The app as it runs, with a broker and a worker: its own on this machine, or the one at `TASKS_URL`."""
    if url := os.environ.get("TASKS_URL"):
        yield Live(url.rstrip("/"))
        return
    if not REDIS:
        pytest.skip("there is no redis-server")
    local = Local(tmp_path_factory.mktemp("live"), TASKS_QUEUES="celery,high,low,io")
    yield local
    local.close()


@pytest.fixture
def database_down(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: BaseDatabaseWrapper) -> None:
        raise OperationalError('connection to "10.0.0.9" failed: password authentication failed for user "secret"')

    monkeypatch.setattr(BaseDatabaseWrapper, "ensure_connection", refuse)


@pytest.fixture
def broker_down(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise BrokerError("connection refused")

    monkeypatch.setattr("kombu.messaging.Producer.publish", refuse)
    monkeypatch.setattr("kombu.Connection.ensure_connection", refuse)


@pytest.fixture
def results_down(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise ConnectionError("redis://:secret@10.0.0.9 refused")

    monkeypatch.setattr(service.app.backend, "get_task_meta", refuse)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What a process of the app has when its broker is a folder."""
    path = os.pathsep.join(filter(None, (str(APP / "tests"), BARE.get("PYTHONPATH"))))
    return {
        **BARE,
        "PYTHONPATH": path,
        "DJANGO_SETTINGS_MODULE": "worker_settings",
        "TEST_FOLDER": str(tmp_path),
        "TASKS_LEDGER": f"{tmp_path}/ledger",
    }


@pytest.fixture
def prefork(environment: dict[str, str]) -> Iterator[Any]:
    """Starts a prefork worker on these tasks, in this order; what is left of it is killed after the test."""
    started = []

    def start(tasks: str) -> "subprocess.Popen[str]":
        # the names of the broker's files have the time in ms
        send = f"import time; from tasks import *; [(task.delay(), time.sleep(0.01)) for task in ({tasks})]"
        subprocess.run([sys.executable, "-c", send], cwd=APP, env=environment, check=True)
        command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", *OPTIONS]
        process = subprocess.Popen(
            command, cwd=APP, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with suppress(ProcessLookupError):  # its children have ended, too
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
