"""What nginx is told about the web side."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.preflight.check import check

from tests.unit.plugins.preflight.platforms import platform, words


@pytest.mark.parametrize(
    "changes",
    [
        {"celery_web_body_size": "1g", "celery_web_timeout": 300, "celery_web_names": ["www.example.org", "*.a.org"]},
        {"celery_trusted_proxies": ["192.0.2.7", "10.0.0.0/8", "2001:db8::/32"]},
        {"celery_web_locations": [{"path": "~ ^/up/", "config": "client_max_body_size 1g;"}]},
        {"celery_web_locations": [{"path": "= /robots.txt", "config": "return 404;", "web": False}]},
        {
            "celery_app_state": ["media/", "db.sqlite3"],
            "celery_web_static": [{"url": "/static/", "folder": "staticfiles"}, {"url": "/media/", "folder": "media/"}],
            "celery_web_static_commands": ["python -m django collectstatic --noinput"],
        },
        {
            "celery_web_static": [{"folder": "shop/static/css"}, {"folder": "build"}],
            "celery_web_static_commands": ["make"],
        },
    ],
)
def test_what_is_allowed(changes: dict[str, Any]) -> None:
    assert check(platform(**changes)) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"celery_web_body_size": "10 MB"}, ["celery_web_body_size", "'10 MB'", "10m, 1g or 0"]),
        ({"celery_web_timeout": "300"}, ["celery_web_timeout", "without quotes"]),
        ({"celery_web_names": ["https://a.org"]}, ["celery_web_names", "Leave out the scheme"]),
        ({"celery_web_names": ["a.org; return 200"]}, ["celery_web_names"]),
        ({"celery_trusted_proxies": ["lb.example.org"]}, ["celery_trusted_proxies", "Write addresses, not names"]),
        ({"celery_trusted_proxies": ["10.0.0.1/8"]}, ["celery_trusted_proxies", "no bits set beyond its prefix"]),
        ({"celery_trusted_proxies": "10.0.0.1"}, ["celery_trusted_proxies", "a list of addresses"]),
        ({"celery_web_locations": {"path": "/"}}, ["celery_web_locations", "a list of entries"]),
        ({"celery_web_locations": [{"path": "/a {"}]}, ["celery_web_locations: /a {", "what follows `location`"]),
        ({"celery_web_locations": [{"path": "/flower/"}]}, ["a path that is there twice"]),
        ({"celery_web_locations": [{"path": "/a"}, {"path": "/a"}]}, ["a path that is there twice"]),
        ({"celery_web_locations": [{"path": "/a", "config": "return 404"}]}, ["each with a ; at its end"]),
        ({"celery_web_locations": [{"path": "/a", "config": "} x {;}"}]}, ["as many { as }"]),
        ({"celery_web_locations": [{"path": "/a", "conf": ""}]}, ["Did you mean config?"]),
        ({"celery_web_locations": [{"path": "/a", "web": False}]}, ["web: false and no config"]),
        ({"celery_app_state": ["/srv/media/"]}, ["celery_app_state", "Leave out a / at the begin"]),
        ({"celery_app_state": ["../media/"]}, ["celery_app_state", "Leave out"]),
        ({"celery_app_state": ["var/", "var/media/"]}, ["var/media, and var that holds it", "Remove var/media."]),
        ({"celery_web_static": [{"url": "/static", "folder": "a"}]}, ["begins and ends with /"]),
        ({"celery_web_static": [{"url": "/static/", "folder": "/a"}]}, ["a folder inside of the application's"]),
        ({"celery_web_static": [{"url": "/static/", "path": "a"}]}, ["url and folder"]),
        ({"celery_web_static": [{"ulr": "/static/", "folder": "a"}]}, ["celery_web_static: a", "url and folder"]),
        ({"celery_web_static": [{"url": "/s/", "folder": "a"}, {"url": "/s/", "folder": "b"}]}, ["each once"]),
        (
            {"celery_web_static": [{"folder": "var/css"}], "celery_app_state": ["var/"]},
            ["celery_web_static: var/css", "Remove the entry."],
        ),
        (
            {"celery_web_static": [{"url": "/s/", "folder": "a"}], "celery_app_state": ["a/up/"]},
            ["a, which holds a/up/ of celery_app_state"],
        ),
        ({"celery_web_static_commands": ["make"]}, ["no folder in celery_web_static"]),
    ],
)
def test_what_is_refused(changes: dict[str, Any], expected: list[str]) -> None:
    text = words(platform(**changes))
    for word in expected:
        assert word in text


def test_nginx_needs_the_files_on_its_host() -> None:
    state = platform(("a", "b"), celery_web_static=[{"url": "/static/", "folder": "staticfiles"}])
    state["groups"] |= {"proxy": ["b"], "web": ["a"]}
    text = words(state)
    assert "nginx on b, which have no release" in text
    assert "List the hosts of the group proxy under web" in text
    for host in state["hosts"].values():
        host["vars"]["celery_web_static"] = [{"folder": "build"}]
    assert "celery_web_static" not in words(state), "nginx serves nothing of a folder without a url"


def test_hosts_do_not_share_what_the_application_writes() -> None:
    (problem,) = check(platform(("a", "b"), celery_app_state=["media/"]))
    assert (problem.level, problem.variable) == ("warning", "celery_app_state")
    assert "each has files of its own" in problem.found


@pytest.mark.parametrize(
    ("proxies", "address", "changes", "warned"),
    [
        (["a", "b"], "front.example.org", {}, True),
        (["b"], "front.example.org", {}, True),
        (["b"], "192.0.2.9", {}, False),
        (["b"], "", {}, False),
        (["b"], "front.example.org", {"celery_web_command": "daphne x:y"}, False),
        (["a"], "front.example.org", {}, False),
    ],
)
def test_a_proxy_is_known_by_its_address(
    proxies: list[str], address: str, changes: dict[str, Any], warned: bool
) -> None:
    state = platform(("a", "b"), celery_address=address, **changes)
    state["groups"] |= {"proxy": proxies, "web": ["a"]}
    found = [problem for problem in check(state) if problem.variable == "celery_address"]
    assert [problem.level for problem in found] == (["warning"] if warned else [])
    if warned:
        assert "the name front.example.org for b" in found[0].found
