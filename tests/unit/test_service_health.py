"""A service is healthy when it answers, and not because its unit is active."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.rendering import ROOT

from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.host import Host  # isort: skip
from ansible_collections.celery_on_hosts.platform.plugins.modules import service_health  # isort: skip


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a real Redis that wants a password."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("redis")
    command = [ROOT / "bin/redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", folder]
    with subprocess.Popen([*map(str, command), "--requirepass", "secret"], stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while service_health.place_of(Host(), "any", port) is None:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield port
        process.terminate()


def test_a_server_is_known_by_its_first_answer(redis: int) -> None:
    """Redis is not taken for nginx."""
    asked = {service_health.ask_redis: True, service_health.ask_nginx: False}
    for ask, answer in asked.items():
        with socket.create_connection(("127.0.0.1", redis), 5) as connection:
            assert ask(connection) is answer, ask.__name__


def test_where_a_unit_listens_is_found_by_its_port(redis: int) -> None:
    assert service_health.place_of(Host(), "any", redis) == ("127.0.0.1", redis)
    assert service_health.place_of(Host(), "no-such.service", None) is None


@pytest.mark.parametrize(
    ("state", "detail"),
    [("inactive", "nginx.service is inactive"), ("active", "nginx.service is active, but listens at no port")],
)
def test_a_unit_that_does_not_serve_is_not_healthy(state: str, detail: str, tmp_path: Path) -> None:
    said = service_health.check(Host(str(tmp_path)), "nginx.service", state, 5)
    assert (said["ok"], said["detail"]) == (False, detail)
    assert "systemctl status nginx.service" in said["advice"]


def test_flower_is_asked_where_its_settings_say(redis: int) -> None:
    """Here something else answers there."""
    settings = f"FLOWER_ADDRESS=127.0.0.1\nFLOWER_PORT='{redis}'\nFLOWER_URL_PREFIX=flower\n"
    said = service_health.check_flower(settings, 5)
    assert not said["ok"]
    assert said["detail"].startswith(f"127.0.0.1:{redis} does not answer: ")
