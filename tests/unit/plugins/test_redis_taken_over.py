"""A Redis of others keeps the keys of all its databases when the platform takes it over."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError

from tests.unit.modules import run_module
from tests.unit.rendering import ROOT

from ansible_collections.celery_on_hosts.platform.plugins.module_utils.taken import keep_beside  # isort: skip
from ansible_collections.celery_on_hosts.platform.plugins.modules import redis_taken_over  # isort: skip

PASSWORD = "s3cret"  # noqa: S105  # of a server that lives as long as a test


class Host:
    """A Redis with a snapshot and no append-only file.

    Args:
        folder: where its files are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None
        (folder / "redis.conf").write_text(f"requirepass {PASSWORD}\n")

    def systemctl(self, verb: str, unit: str = "") -> None:
        """Do as systemctl does."""
        if verb == "start" and not self.process:
            self.start("--save", "")
        elif verb == "stop" and self.process:
            self.process.terminate()
            self.process.wait()
            self.process = None

    def start(self, *more: str) -> None:
        """Start it, and wait until it answers."""
        options = f"--port {self.port} --dir {self.folder} --requirepass {PASSWORD}".split()
        self.process = subprocess.Popen([ROOT / "bin/redis-server", *options, *more], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with suppress(RedisError):
                self.client().ping()
                return
            time.sleep(0.02)
        pytest.fail("redis-server does not start")

    def client(self, database: int = 0) -> Redis:
        """Return a connection."""
        return Redis("127.0.0.1", self.port, database, PASSWORD)

    def take_over(self, *, check: bool = False) -> dict[str, Any]:
        """Run the module."""
        paths = {"data": str(self.folder), "configuration": f"{self.folder}/redis.conf"}
        files = [f"{self.folder}/redis.conf", f"{self.folder}/users.acl"]
        state = f"{self.folder}/state"
        return run_module(
            "redis_taken_over", check=check, port=self.port, files=files, state_folder=state, timeout=30, **paths
        )

    def files(self) -> list[str]:
        """Return the names of its files."""
        return sorted(path.name for path in self.folder.rglob("*"))


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """Return a Redis with keys in two databases."""
    host = Host(tmp_path)
    monkeypatch.setattr(redis_taken_over, "systemctl", host.systemctl)
    host.start("--save", "")
    host.client().mset({f"order:{number}": "paid" for number in range(500)})
    host.client(7).set("basket", "full")
    host.client().save()
    yield host
    host.systemctl("stop")


@pytest.mark.parametrize("runs", [True, False], ids=["which runs", "which is stopped"])
def test_all_keys_are_in_the_append_only_file(host: Host, runs: bool) -> None:
    """Also those that the last snapshot does not hold; a second run has nothing to do."""
    if runs:
        host.client().set("late", "yes")
    else:
        host.systemctl("stop")
    said = host.take_over()
    assert (said["changed"], said["keys"]) == (True, 502 if runs else 501), said
    assert not host.process
    (host.folder / "dump.rdb").unlink()
    host.start("--appendonly", "yes")
    assert host.client().dbsize() == 500 + runs
    assert host.client(7).get("basket") == b"full"
    assert [name.split("-2")[0] for name in host.files() if "before" in name] == [
        "dump.rdb.before-celery",
        "redis.conf.before-celery",
    ]


def test_a_dry_run_tells_and_changes_nothing(host: Host) -> None:
    before = host.files()
    said = host.take_over(check=True)
    assert said["changed"]
    assert "500 keys in database 0" in said["diff"]["after"]
    assert "the copy " in said["diff"]["after"]
    assert host.files() == before
    assert host.client().config_get("appendonly") == {"appendonly": "no"}


def test_what_the_platform_runs_is_left_alone(host: Host) -> None:
    stamp = host.folder / "state/applied/redis-server.service.json"
    stamp.parent.mkdir(parents=True)
    stamp.write_text("{}")
    assert not host.take_over()["changed"]
    assert host.process


def test_where_nobody_is_let_in_it_says_so(host: Host) -> None:
    (host.folder / "redis.conf").write_text("requirepass wrong\n")
    said = host.take_over()
    assert said["failed"]
    assert "cannot be taken over: WRONGPASS" in said["msg"]
    assert host.client().dbsize() == 500


def test_an_old_append_only_file_is_written_anew(host: Host) -> None:
    """A server that had one once, and runs without it now, holds newer keys."""
    client = host.client()
    client.config_set("appendonly", "yes")
    wait(lambda: client.info("persistence")["aof_rewrite_in_progress"] == 0 and "appendonlydir" in host.files())
    client.config_set("appendonly", "no")
    client.set("late", "yes")
    assert host.take_over()["keys"] == 502
    host.start("--appendonly", "yes")
    assert host.client().get("late") == b"yes"


def test_a_file_is_copied_once(tmp_path: Path) -> None:
    path = tmp_path / "redis.conf"
    path.write_text("one\n")
    path.chmod(0o640)
    (copy,) = keep_beside([path, tmp_path / "missing"], check=False)
    assert (copy.read_text(), copy.stat().st_mode & 0o777) == ("one\n", 0o640)
    assert keep_beside([path], check=False) == []


def wait(good: Callable[[], bool]) -> None:
    """Wait for something that takes a moment."""
    deadline = time.monotonic() + 30
    while not good():
        assert time.monotonic() < deadline
        time.sleep(0.05)
