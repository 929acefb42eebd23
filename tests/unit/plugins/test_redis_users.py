"""Passwords of a running Redis are added and removed, and no connection is closed."""

from __future__ import annotations

import grp
import os
import pwd
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError
from redis.retry import Retry

from tests.unit.modules import run_module
from tests.unit.rendering import ROOT

ONCE = Retry(NoBackoff(), 0)
ME = pwd.getpwuid(os.getuid()).pw_name
RULES = {"celery": "~* &* +@all -@admin -@dangerous +info", "operator": "~* &* +@all"}


class Host:
    """A Redis whose aclfile the module writes.

    Args:
        folder: where its files are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"--port {self.port} --dir {self.folder} --aclfile {self.folder}/users.acl --save".split()
        self.process = subprocess.Popen([ROOT / "bin/redis-server", *options, ""], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                Redis("127.0.0.1", self.port, retry=ONCE).ping()
            except AuthenticationError:
                return  # it asks for a password
            except RedisError:
                pass
            time.sleep(0.02)
        pytest.fail("redis-server does not start")

    def stop(self) -> None:
        """Stop it."""
        if self.process:
            self.process.terminate()
            self.process.wait()
            self.process = None

    def let_in(
        self, *, check: bool = False, retire: bool = False, taken_over: bool = False, **passwords: str
    ) -> dict[str, Any]:
        """Run the module for users with these passwords."""
        return run_module(
            "redis_users",
            check=check,
            users=[{"name": name, "password": password, "rules": RULES[name]} for name, password in passwords.items()],
            retire=retire,
            taken_over=taken_over,
            port=self.port,
            file=f"{self.folder}/users.acl",
            root_password=f"{self.folder}/root.password",
            data=f"{self.folder}",
            owner=ME,
        )

    def connect(self, name: str, password: str) -> Redis:
        """Return a connection that has logged in."""
        who: dict[str, Any] = {"username": name, "password": password}
        redis = Redis("127.0.0.1", self.port, **who, single_connection_client=True, retry=ONCE)
        redis.ping()
        return redis

    def takes(self, name: str, *passwords: str) -> list[bool]:
        """Return, for each password, whether it lets a user in."""

        def lets_in(password: str) -> bool:
            with suppress(RedisError):
                return bool(self.connect(name, password).ping())
            return False

        return [lets_in(password) for password in passwords]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """Start a Redis with two users, and stop it in the end."""
    if ME not in [group.gr_name for group in grp.getgrall()]:
        pytest.skip(f"there is no group {ME}")
    host = Host(tmp_path)
    assert host.let_in(celery="one", operator="two")["changed"], "it is off, and reads the file when it starts"
    host.start()
    yield host
    host.stop()


def test_a_second_run_changes_nothing(host: Host) -> None:
    for check in (True, False):
        said = host.let_in(celery="one", operator="two", check=check)
        assert (said["changed"], said["passwords"]["celery"]) == (False, 1)


def test_a_password_of_before_works_until_it_is_retired(host: Host) -> None:
    connected = host.connect("celery", "one")
    said = host.let_in(celery="new", operator="newer")
    assert (said["changed"], said["passwords"]) == (True, {"default": 0, "root": 1, "celery": 2, "operator": 2})
    assert host.takes("celery", "one", "new", "two") == [True, True, False]
    assert host.takes("operator", "two", "newer", "one") == [True, True, False]
    assert not host.let_in(celery="new", operator="newer")["changed"]
    host.let_in(celery="new", operator="newer", retire=True)
    assert host.takes("celery", "one", "new") == [False, True]
    assert host.takes("operator", "two", "newer") == [False, True]
    assert connected.set("key", "value"), "nobody was disconnected"
    assert not host.let_in(celery="new", operator="newer")["changed"]


@pytest.mark.parametrize("retire", [False, True])
def test_what_it_takes_survives_a_restart(host: Host, retire: bool) -> None:
    host.let_in(celery="new", operator="two")
    host.let_in(celery="new", operator="two", retire=retire)
    host.stop()
    host.start()
    assert host.takes("celery", "one", "new") == [not retire, True]


def test_a_run_that_was_cut_off_is_finished(host: Host) -> None:
    before = (host.folder / "users.acl").read_text()
    host.stop()
    host.let_in(celery="new", operator="two")
    after = (host.folder / "users.acl").read_text()
    (host.folder / "users.acl").write_text(before)
    host.start()
    (host.folder / "users.acl").write_text(after)
    assert host.takes("celery", "new") == [False], "it was written and not made known"
    assert host.let_in(celery="new", operator="two")["changed"]
    assert host.takes("celery", "one", "new") == [True, True]


def test_users_are_taken_away_when_they_are_retired(host: Host) -> None:
    assert host.takes("operator", "two") == [True]
    host.let_in(celery="one")
    assert host.takes("operator", "two") == [True]
    host.let_in(celery="one", retire=True)
    assert host.takes("operator", "two") == [False]
    assert host.takes("default", "") == [False]


def test_a_host_of_an_earlier_version_is_entered_as_its_operator(host: Host) -> None:
    host.connect("operator", "two").acl_deluser("root")
    assert host.let_in(celery="new", operator="two")["restarted"] is False
    assert host.takes("celery", "one", "new") == [True, True]


def test_it_is_restarted_where_nobody_is_let_in(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.connect("operator", "two").acl_deluser("root")
    (host.folder / "bin").mkdir()
    (host.folder / "bin/systemctl").write_text(f'#!/bin/sh\necho "$@" >{host.folder}/asked\n')
    (host.folder / "bin/systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{host.folder}/bin:{os.environ['PATH']}")
    assert host.let_in(celery="new", operator="unknown")["restarted"] is True
    assert (host.folder / "asked").read_text() == "try-restart redis-server\n"


def test_a_wrong_rule_is_an_error_and_changes_nobody(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RULES, "celery", "+nonsense")
    said = host.let_in(celery="one", operator="two")
    assert said["failed"]
    assert "nonsense" in said["msg"]
    assert host.takes("celery", "one") == [True]
    host.stop()
    host.start()  # the file is as it was
    assert host.takes("celery", "one") == [True]


def test_no_password_is_readable_or_shown(host: Host) -> None:
    said = str(host.let_in(celery="s3cret", operator="s3cret"))
    root = (host.folder / "root.password").read_text().strip()
    text = (host.folder / "users.acl").read_text()
    assert len(root) > 30
    assert not [word for word in ("s3cret", root) if word in text]
    assert not re.search(rf"s3cret|{root}|[0-9a-f]{{64}}", said)
    assert {path.stat().st_mode & 0o007 for path in (host.folder / "users.acl", host.folder / "root.password")} == {0}
    assert (host.folder / "root.password").stat().st_mode & 0o777 == 0o600


@pytest.fixture
def fresh(tmp_path: Path) -> Callable[[bool], dict[str, Any]]:
    """Return a function that runs the module on a blank host."""
    return lambda check: Host(tmp_path).let_in(celery="one", check=check)


def test_a_dry_run_on_a_blank_host_writes_nothing(fresh: Callable[[bool], dict[str, Any]], tmp_path: Path) -> None:
    assert fresh(True)["changed"]
    assert list(tmp_path.iterdir()) == []


def test_a_snapshot_with_keys_is_not_started_over(host: Host) -> None:
    redis = host.connect("operator", "two")
    redis.set("order:1", "paid")
    redis.save()
    (host.folder / "root.password").unlink()
    for check in (True, False):
        said = host.let_in(celery="one", operator="two", check=check)
        assert said["failed"]
        assert f"1 key in database 0 in {host.folder}/dump.rdb" in said["msg"]
        assert not (host.folder / "root.password").exists(), "nothing was written"
    (host.folder / "appendonlydir").mkdir()
    assert host.let_in(celery="one", operator="two")["failed"], "Redis would not read an empty folder"
    (host.folder / "appendonlydir/appendonly.aof.manifest").touch()
    assert "failed" not in host.let_in(celery="one", operator="two")


def test_a_dry_run_of_a_take_over_goes_on(host: Host) -> None:
    """The keys are not written to an append-only file in a dry run."""
    redis = host.connect("operator", "two")
    redis.set("order:1", "paid")
    redis.save()
    (host.folder / "root.password").unlink()
    assert "failed" not in host.let_in(celery="one", operator="two", check=True, taken_over=True)
    assert host.let_in(celery="one", operator="two", taken_over=True)["failed"]


def test_keys_of_a_running_server_are_not_started_over(host: Host) -> None:
    """The keys are not saved yet, or the password that protects them is not known."""
    (host.folder / "root.password").unlink()
    said = host.let_in(celery="one", operator="two")
    assert said["failed"]
    assert "does not say how many keys it holds (-NOAUTH" in said["msg"]
    redis = host.connect("operator", "two")
    redis.acl_setuser("default", enabled=True, nopass=True)
    redis.set("order:1", "paid")
    assert "1 key in the memory" in host.let_in(celery="one", operator="two")["msg"]
