"""Fixtures: a platform.json, an environment without a server, and applications that know nothing of the platform."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as NoConnection

RUNTIME = Path(__file__).parents[1]
sys.path.insert(0, str(RUNTIME))

from celery_on_hosts import upstream  # noqa: E402

# The web side does not depend on Celery, and its servers are in the lock of the application alone.
if upstream.is_before("celery", "5.7"):
    collect_ignore_glob = ["test_*web*.py", "test_gunicorn_conf.py", "test_tls.py"]

PLAIN = "from celery import Celery\napp = Celery('tasks', broker='pyamqp://guest@localhost//')\n"


def since(number: str, before: str) -> pytest.MarkDecorator:
    """Run a test with this Celery and later ones only.

    Args:
        number: the version.
        before: what is otherwise with an older one.
    """
    return pytest.mark.skipif(upstream.is_before("celery", number), reason=f"Celery before {number}: {before}")


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write a platform.json and point the environment at it; keyword arguments replace its keys."""
    monkeypatch.setenv("CELERY_LOADER", "celery_on_hosts.loader:Loader")
    monkeypatch.setenv("CELERY_BROKER_URL", "memory://")
    monkeypatch.setenv("CELERY_RESULT_BACKEND", "cache+memory://")
    monkeypatch.setenv("CELERY_RUN_DIR", str(tmp_path))
    for name in ("CELERY_PROGRAM", "CELERY_APP", "DJANGO_SETTINGS_MODULE"):
        monkeypatch.delenv(name, raising=False)

    def write(**keys: Any) -> Path:
        data = {
            "app": "tasks",
            "broker": "rabbitmq",
            "queues": ["celery", "low"],
            "queue_arguments": {"x-queue-type": "quorum"},
            "settings": {
                "task_acks_late": True,
                "task_reject_on_worker_lost": True,
                "task_create_missing_queues": False,
                "accept_content": ["json"],
                "broker_transport_options": {"confirm_publish": True, "confirm_timeout": 10},
            },
        } | keys
        path = tmp_path / "platform.json"
        path.write_text(json.dumps(data))
        monkeypatch.setenv("CELERY_PLATFORM", str(path))
        return path

    return write


@pytest.fixture
def app_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write modules into a folder of their own: ``app_dir(tasks="…")``."""

    def write(**modules: str) -> Path:
        folder = tmp_path / "app"
        folder.mkdir(exist_ok=True)
        for name, text in modules.items():
            (folder / f"{name}.py").write_text(text)
        return folder

    return write


@pytest.fixture
def python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python in a process of its own, as a release does: the app's folder is the working directory."""

    def run(cwd: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(RUNTIME), "C_FORCE_ROOT": "1", **env},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


class Server:
    """A Redis server of these tests, which writes to disk before it answers."""

    def __init__(self, folder):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.folder = folder
        self.client = Redis(port=self.port, decode_responses=True, retry=None)

    def start(self):
        options = f"--port {self.port} --dir {self.folder} --appendonly yes --appendfsync always --save ''".split(" ")
        options[-1] = ""
        self.process = subprocess.Popen([RUNTIME.parent / "bin/redis-server", *options], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while True:
            assert self.process.poll() is None and time.monotonic() < deadline, "redis-server does not start"
            with contextlib.suppress(NoConnection):
                return self.client.ping()
            time.sleep(0.02)

    def kill(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def redis(server):
    """A client of the server, whose database is empty."""
    server.client.config_set("maxmemory", 0)
    server.client.flushall()
    return server.client
