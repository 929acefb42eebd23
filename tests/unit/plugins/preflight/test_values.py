"""Variables that stand for themselves: what is wrong is refused in the right words."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.preflight.check import check

from tests.unit.plugins.preflight.platforms import STOCK, platform, words


def test_good() -> None:
    assert check(platform(("a", "b"))) == []
    assert check(platform(celery_broker="redis")) == []
    for host in ("tasks.example.org", "tasks_1", "192.0.2.1:8080", "[2001:db8::1]:80"):
        assert check(platform(celery_web_host=host, celery_web_health_path="/health/?full=1")) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"celery_broker": "rabitmq"}, ["celery_broker", "'rabitmq'", "rabbitmq or redis", "Did you mean rabbitmq?"]),
        ({"celery_redis_transport": "atomc"}, ["celery_redis_transport", "atomic or stock", "Did you mean atomic?"]),
        ({"celery_broker": None}, ["celery_broker", "None", "rabbitmq or redis"]),
        ({"celery_unlock": "true"}, ["celery_unlock", "-e '{\"celery_unlock\": false}'"]),
        ({"celery_serial": 1}, ["celery_serial", "1", "such as [1, 50%]"]),
        ({"celery_serial": [1, "150%"]}, ["celery_serial", "[1, '150%']"]),
        ({"celery_take_over": ["redes"]}, ["celery_take_over", "['redes']", "may be replaced: redis", "Leave out"]),
        ({"celery_take_over": ["rabbitmq"]}, ["may be replaced: redis", "they are used as they are"]),
        ({"celery_beat_enabled": "no"}, ["celery_beat_enabled", "true or false, without quotes"]),
        ({"celery_time_limit": "300"}, ["celery_time_limit", "whole number"]),
        ({"celery_web_port": 70000}, ["celery_web_port", "1 to 65535"]),
        ({"celery_web_app": "tasks.wsgi"}, ["celery_web_app", "module:callable"]),
        ({"celery_web_app": "shop:create_app(mode)"}, ["celery_web_app", "or a call with literals"]),
        ({"celery_web_command": "daphne 'proj"}, ["celery_web_command", "a command in one line"]),
        ({"celery_web_command": "daphne\nproj"}, ["celery_web_command", "a command in one line"]),
        (
            {"celery_web_host": "https://tasks.example.org/"},
            ["celery_web_host", "tasks.example.org", "Leave out the scheme"],
        ),
        ({"celery_web_host": "two names"}, ["celery_web_host", "'two names'", "with :PORT"]),
        ({"celery_web_health_path": "health/"}, ["celery_web_health_path", "'health/'", "begins with /"]),
        ({"celery_web_health_path": "http://a/health"}, ["celery_web_health_path", "celery_web_host is the host"]),
        ({"celery_web_health_path": "/a b"}, ["celery_web_health_path", "'/a b'"]),
        ({"celery_packages": "ffmpeg"}, ["celery_packages", "a list of names of Debian packages"]),
        ({"celery_packages": ["ffmpeg=7:5.1"]}, ["celery_packages", "Leave out versions"]),
        ({"celery_apt_proxy": "proxy.example.org:3128"}, ["celery_apt_proxy", "http://proxy.example.org:3128"]),
        ({"celery_apt_proxy": 'http://a:b"c@proxy:3128'}, ["celery_apt_proxy", "percent-encoded"]),
        ({"celery_operators": "alice"}, ["celery_operators", "list of users"]),
        ({"celery_flower_password": " "}, ["celery_flower_password", "nothing", "one is generated"]),
        ({"celery_signing_key": ""}, ["celery_signing_key", "nothing", "one is generated"]),
        ({"celery_message_signing": "yes"}, ["celery_message_signing", "'yes'", "true or false, without quotes"]),
        ({"celery_wokers": []}, ["celery_wokers", "does not exist", "Did you mean celery_workers?"]),
    ],
)
def test_values(changes: dict[str, Any], expected: list[str]) -> None:
    text = words(platform(**changes))
    for word in expected:
        assert word in text
    if expected:
        assert "the inventory has 1 problem." in text or "celery_time_limit" in text


def test_the_stock_transport_of_redis_is_called_what_it_is() -> None:
    (problem,) = check(platform(**STOCK))
    assert (problem.level, problem.variable) == ("warning", "celery_redis_transport")
    assert "loses that task" in problem.found
    assert check(platform(celery_redis_transport="stock")) == []


def test_a_command_of_the_users_is_restarted_and_said_so() -> None:
    command = "daphne -p $CELERY_WEB_PORT proj.asgi:application"
    (problem,) = check(platform(celery_web_app="not needed", celery_web_command=command))
    assert (problem.level, problem.variable) == ("warning", "celery_web_command")
    assert "restarted" in problem.found
    assert check(platform(celery_web_app="shop:create_app('production')")) == []
