"""The application's cache: a Redis of its own, which can be emptied and cannot reach the results."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.plugins.preflight.platforms import platform as preflight
from tests.unit.plugins.preflight.platforms import words
from tests.unit.rendering import GROUPS, Platform

from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.settings import platform_names  # isort: skip

CACHE: dict[str, Any] = {"celery_cache_enabled": True, "celery_cache_password": "p@s/s"}


def test_the_cache_is_another_server() -> None:
    platform = Platform(**CACHE)
    text = platform.text("redis", "/etc/redis/redis-cache.conf")
    lines = text.splitlines()
    assert "port 6380" in lines
    assert "aclfile /etc/redis/cache.acl" in lines
    for line in ('save ""', "appendonly no", "maxmemory 256mb", "maxmemory-policy allkeys-lru"):
        assert line in lines, "it keeps nothing, and drops what it has to"
    assert "port 6379" in platform.text("redis", "/etc/redis/redis.conf").splitlines()
    environment = platform.text("celery", "/etc/celery/environment")
    assert "CACHE_URL='redis://cache:p%40s%2Fs@127.0.0.1:6380/0'\n" in environment
    assert "CHANNELS_URL='redis://cache:p%40s%2Fs@127.0.0.1:6380/1'\n" in environment


def test_the_application_may_empty_the_cache_alone() -> None:
    described = Platform(**CACHE).described()["redis"]
    (cache,) = described["cache_users"]
    assert "+flushdb" in cache["rules"]
    assert not [user["name"] for user in described["users"] if "+flush" in user["rules"]]


def test_without_the_switch_there_is_none() -> None:
    described = Platform().described()
    assert described["redis"]["cache_users"] == []
    assert "CACHE_URL" not in Platform().text("celery", "/etc/celery/environment")
    assert Platform().described()["credentials"] == described["credentials"]
    ports = {one["port"] for claim in described["claims"] for one in claim.get("listen", [])}
    assert 6380 not in ports
    ports = {one["port"] for claim in Platform(**CACHE).described()["claims"] for one in claim.get("listen", [])}
    assert 6380 in ports


def test_the_cache_is_where_the_results_are() -> None:
    groups = {name: ["a"] for name in GROUPS} | {"results": ["b"]}
    worker, results = (Platform(groups=groups, host=host, **CACHE) for host in "ab")
    assert "@192.0.2.2:6380/0'" in worker.text("celery", "/etc/celery/environment")
    assert json.dumps(results.described()["redis"]["cache_users"]) != "[]"


def test_a_new_password_of_the_cache_is_a_rotation() -> None:
    first, second = (Platform(**CACHE | {"celery_cache_password": one}).described() for one in ("one", "two"))
    assert first["credentials"]["digest"] != second["credentials"]["digest"]
    assert first["credentials"]["digest"] != Platform().described()["credentials"]["digest"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"celery_cache_enabled": "yes"}, ["celery_cache_enabled", "true or false"]),
        ({"celery_cache_memory": 256}, ["celery_cache_memory", "such as 256mb"]),
    ],
)
def test_values(changes: dict[str, Any], expected: list[str]) -> None:
    state = preflight(**changes)
    state["known"] += ["celery_cache_enabled", "celery_cache_memory"]
    text = words(state)
    for word in expected:
        assert word in text


def test_a_cache_needs_a_host() -> None:
    state = preflight(celery_cache_enabled=True, celery_result_url="redis://r.example.org")
    state["known"] += ["celery_cache_enabled", "celery_result_url"]
    del state["groups"]["results"]
    assert "celery_cache_enabled\n   found:   true, and no host in the group results" in words(state)


def test_the_applications_own_names_for_the_platforms_variables() -> None:
    wanted = {"REDIS_URL": "CACHE_URL", "DB_HOST": "PGHOST", "BROKER": "CELERY_BROKER_URL"}
    lines = Platform(**CACHE, celery_app_environment_from=wanted).text("celery", "/etc/celery/environment").splitlines()
    found = dict(line.split("=", 1) for line in lines)
    for name, source in wanted.items():
        assert found[name] == found[source] != "''"


@pytest.mark.parametrize(
    "changes",
    [{}, CACHE, {"celery_database_enabled": False}, {"celery_result_backend": "application"}],
)
def test_the_names_that_preflight_allows_are_there(changes: dict[str, Any]) -> None:
    names = platform_names({"celery_database_enabled": True, **changes})
    lines = Platform(**changes).text("celery", "/etc/celery/environment").splitlines()
    assert set(names) <= {line.partition("=")[0] for line in lines}
