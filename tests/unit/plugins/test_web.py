"""How the web side is served, as supervisord reads it."""

from __future__ import annotations

import configparser
import shlex
from typing import Any

import pytest
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils import web

VARIABLES: dict[str, Any] = {
    "celery_web_app": "proj.wsgi:application",
    "celery_web_command": "",
    "celery_web_workers": 2,
    "celery_web_threads": 4,
    "celery_web_preload": False,
    "celery_web_timeout": 60,
}


def as_supervisord_reads_it(command: str) -> list[str]:
    """Read a command as supervisord does: its parser, its expansions, its splitting."""
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"))
    parser.read_string(f"[program:web]\ncommand={command}\n")
    return shlex.split(parser["program:web"]["command"] % {"program_name": "web"})


@pytest.mark.parametrize(
    "app",
    [
        "proj.wsgi:application",
        "shop:create_app('production')",
        'shop:create_app("it\'s", mode="50%")',
        "shop:create_app('a # b ; c  %(x)s')",
    ],
)
def test_an_application_reaches_gunicorn_as_it_is_written(app: str) -> None:
    words = web.server_words(VARIABLES | {"celery_web_app": app}, ["127.0.0.1"], 8000, [])
    assert as_supervisord_reads_it(web.supervisor_command(words)) == words
    assert words[3] == app


def test_a_command_gets_the_address_before_its_words() -> None:
    command = "daphne -b $CELERY_WEB_ADDRESS -p ${PORT} 'proj.asgi:application'"
    words = web.server_words(VARIABLES | {"celery_web_command": command}, ["192.0.2.1"], 8000, ["192.0.2.9"])
    assert words[:2] == ["/usr/bin/env", "FORWARDED_ALLOW_IPS=192.0.2.9"]
    assert words[3:7] == ["-m", "celery_on_hosts.web.command", "192.0.2.1", "8000"]
    assert words[7:] == ["daphne", "-b", "$CELERY_WEB_ADDRESS", "-p", "${PORT}", "proj.asgi:application"]
    assert as_supervisord_reads_it(web.supervisor_command(words)) == words


def test_a_process_that_is_stopped_has_as_long_as_nginx_waits() -> None:
    for timeout, seconds in ((5, 30), (600, 600)):
        words = web.server_words(VARIABLES | {"celery_web_timeout": timeout}, ["127.0.0.1"], 8000, [])
        assert f"--graceful-timeout={seconds}" in words


def test_the_origin_of_a_request_is_believed_of_the_proxies_alone() -> None:
    words = web.server_words(VARIABLES, ["192.0.2.1"], 8000, ["192.0.2.9", "front.example.org", "127.0.0.1"])
    assert "--forwarded-allow-ips=192.0.2.9,127.0.0.1" in words


def test_the_hosts_own_nginx_is_believed_at_loopback_beside_other_proxies() -> None:
    words = web.server_words(VARIABLES, ["192.0.2.1", "127.0.0.1"], 8000, ["192.0.2.1", "192.0.2.9"])
    bound = [number for number, word in enumerate(words) if word == "--bind"]
    assert [words[number + 1] for number in bound] == ["192.0.2.1:8000", "127.0.0.1:8000"]
    assert "--forwarded-allow-ips=192.0.2.1,192.0.2.9,127.0.0.1" in words


def test_at_loopback_nobody_but_the_hosts_own_nginx_is_believed() -> None:
    words = web.server_words(VARIABLES, ["127.0.0.1"], 8000, ["192.0.2.1"])
    assert "--forwarded-allow-ips=127.0.0.1" in words
    assert "--forwarded-allow-ips=127.0.0.1" in web.server_words(VARIABLES, ["192.0.2.1"], 8000, ["front.example.org"])


def test_one_server_is_asked_as_it_is_and_several_by_name() -> None:
    assert web.Upstream("celery_web", {}).backend == ""
    assert web.Upstream("celery_web", {"a": "127.0.0.1:8000"}).backend == "http://127.0.0.1:8000"
    assert web.Upstream("celery_web", {"a": "192.0.2.1:8000", "b": "192.0.2.2:8000"}).backend == "http://$celery_web"


def test_the_proof_asks_each_of_several_servers() -> None:
    def asked(*hosts: str) -> list[tuple[str, str]]:
        servers = {host: f"{host}:8000" for host in hosts}
        return [(one["name"], one["server"]) for one in web.Upstream("w", servers).checks("web", "/", "x", 500)]

    assert asked() == []
    assert asked("a") == [("web", "")]
    assert asked("b", "a") == [("web", ""), ("web on b", "1"), ("web on a", "2")]
