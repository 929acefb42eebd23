"""Wrong inventories are refused in the right words."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.preflight import (
    GROUPS,
    SWITCHES,
    Problem,
    check,
    render,
)

GOOD: dict[str, Any] = {
    "celery_app": "tasks",
    "celery_app_source": "/app",
    "celery_app_environment": {"ALLOWED_HOSTS": "*"},
    "celery_app_release_commands": ["python -m django migrate"],
    "celery_broker": "rabbitmq",
    "celery_redis_transport": "atomic",
    "celery_workers": [{"name": "celery", "queues": ["celery"]}, {"name": "low", "queues": ["low"], "pool": "threads"}],
    "celery_queues": ["celery", "low"],
    "celery_beat_enabled": True,
    "celery_web_enabled": True,
    "celery_web_app": "tasks.wsgi:application",
    "celery_web_host": "",
    "celery_web_health_path": "/",
    "celery_database_enabled": True,
    "celery_flower_enabled": True,
    "celery_operators": ["alice"],
    "celery_soft_time_limit": 240,
    "celery_time_limit": 300,
    "celery_stop_wait": 360,
    "celery_redis_visibility_timeout": 3600,
    "celery_rabbitmq_consumer_timeout": 3600,
    "celery_web_port": 80,
}


STOCK: dict[str, Any] = {"celery_broker": "redis", "celery_redis_transport": "stock"}


def platform(hosts: tuple[str, ...] = ("a",), **changes: Any) -> dict[str, Any]:
    """A platform with nothing wrong but the changes, the same on each host."""
    values = {**copy.deepcopy(GOOD), **changes}
    values = {name: value for name, value in values.items() if value is not ...}
    return {
        "groups": {name: [hosts[0]] for name in GROUPS} | {"workers": list(hosts), "all": list(hosts)},
        "known": [*GOOD, "celery_flower_password", "celery_signing_key", "celery_message_signing", "celery_serial"],
        "sources": {"/app": {"exists": True, "packages": ["celery", "django"]}},
        "hosts": {host: {"vars": dict(values), "user": list(changes), "facts": {}} for host in hosts},
    }


def worker(**changes: Any) -> dict[str, Any]:
    return platform(celery_workers=[{"name": "celery", "queues": ["celery", "low"], **changes}])


def words(state: dict[str, Any]) -> str:
    return render(check(state))


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
        ({"celery_serial": 1}, ["celery_serial", "1", "such as [1, 50%]"]),
        ({"celery_serial": [1, "150%"]}, ["celery_serial", "[1, '150%']"]),
        ({"celery_app": ""}, ["celery_app", "what `celery -A` takes"]),
        ({"celery_app": "my-app"}, ["'my-app'"]),
        ({"celery_beat_enabled": "no"}, ["celery_beat_enabled", "true or false, without quotes"]),
        ({"celery_time_limit": "300"}, ["celery_time_limit", "whole number"]),
        ({"celery_web_port": 70000}, ["celery_web_port", "1 to 65535"]),
        ({"celery_web_app": "tasks.wsgi"}, ["celery_web_app", "module:callable"]),
        (
            {"celery_web_host": "https://tasks.example.org/"},
            ["celery_web_host", "tasks.example.org", "Leave out the scheme"],
        ),
        ({"celery_web_host": "two names"}, ["celery_web_host", "'two names'", "with :PORT"]),
        ({"celery_web_health_path": "health/"}, ["celery_web_health_path", "'health/'", "begins with /"]),
        ({"celery_web_health_path": "http://a/health"}, ["celery_web_health_path", "celery_web_host is the host"]),
        ({"celery_web_health_path": "/a b"}, ["celery_web_health_path", "'/a b'"]),
        ({"celery_operators": "alice"}, ["celery_operators", "list of users"]),
        ({"celery_flower_password": " "}, ["celery_flower_password", "nothing", "one is generated"]),
        ({"celery_signing_key": ""}, ["celery_signing_key", "nothing", "one is generated"]),
        ({"celery_message_signing": "yes"}, ["celery_message_signing", "'yes'", "true or false, without quotes"]),
        ({"celery_wokers": []}, ["celery_wokers", "does not exist", "Did you mean celery_workers?"]),
        ({"celery_app_environment": {"DEBUG": False}}, ["celery_app_environment.DEBUG", "in quotes"]),
        ({"celery_app_environment": {"A-B": "x"}}, ["celery_app_environment.A-B", "letters, digits"]),
        ({"celery_app_environment": {"KEY": "a\nb"}}, ["celery_app_environment.KEY", "one line"]),
        ({"celery_app_environment": {"CELERY_LOADER": "x"}}, ["set by the platform"]),
        ({"celery_app_environment": {"DATABASE_URL": "x"}}, ["DATABASE_URL", "celery_database_enabled: false"]),
        ({"celery_app_release_commands": "migrate"}, ["celery_app_release_commands", "a list of commands"]),
        ({"celery_app_source": "/nowhere"}, []),
    ],
)
def test_values(changes: dict[str, Any], expected: list[str]) -> None:
    text = words(platform(**changes))
    for word in expected:
        assert word in text
    if expected:
        assert "the inventory has 1 problem." in text or "celery_time_limit" in text


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"pol": "solo"}, ["celery_workers: celery: pol", "an unknown key", "Did you mean pool?"]),
        ({"name": "Big Mem"}, ["'Big Mem'", "lower-case"]),
        ({"queues": []}, ["queues", "at least one queue"]),
        ({"queues": ["a b"]}, ["'a b'"]),
        ({"queues": ["celery.dead", "celery", "low"]}, ["celery.dead", "does not use itself"]),
        ({"pool": "forks"}, ["'forks'", "prefork, threads, gevent, eventlet, solo", "Did you mean prefork?"]),
        ({"concurrency": "8"}, ["concurrency", "'8'", "or auto"]),
        ({"concurrency": 0}, ["concurrency", "at least 1"]),
        ({"concurrency": 4, "pool": "solo"}, ["4 with pool solo"]),
        ({"autoscale": "2,8"}, ["'MAX,MIN'", "cannot autoscale on quorum queues"]),
        ({"autoscale": "8,2", "concurrency": 2}, ["beside concurrency"]),
        ({"time_limit": 10, "pool": "solo"}, ["set with pool solo", "prefork"]),
        ({"soft_time_limit": 300}, ["300 s, with a time limit of 300 s", "less than 300 s"]),
        ({"time_limit": 9000, "soft_time_limit": 10}, ["celery_rabbitmq_consumer_timeout", "more than 9060 s"]),
        ({"time_limit": 100, "stop_wait": 50}, ["stop_wait", "more than 100 s"]),
        ({"prefetch_multiplier": 0}, ["prefetch_multiplier", "at least 1"]),
        ({"loglevel": "VERBOSE"}, ["loglevel", "DEBUG, INFO"]),
        ({"arguments": ["--pool=solo"]}, ["--pool=solo", "Use the key pool."]),
        ({"arguments": ["-Q", "x"]}, ["Use the key queues."]),
        ({"environment": {"N": None}}, ["environment.N"]),
        ({"hosts": ["wrkers"]}, ["wrkers", "Did you mean workers?"]),
        ({"pool": "gevent"}, ["gevent, which the lock of /app lacks", "Add gevent"]),
    ],
)
def test_worker(changes: dict[str, Any], expected: list[str]) -> None:
    text = words(worker(**changes))
    for word in expected:
        assert word in text


def test_autoscale_on_redis_is_fine() -> None:
    state = worker(autoscale="8,2")
    state["hosts"]["a"]["vars"]["celery_broker"] = "redis"
    assert check(state) == []


def test_two_programs_of_one_name() -> None:
    entry = {"name": "low", "queues": ["celery", "low"]}
    assert "two programs celery-low" in words(platform(celery_workers=[entry, entry]))


def test_queue_that_nobody_reads() -> None:
    text = words(platform(celery_queues=["celery", "low", "hgih"]))
    assert "hgih, which no worker reads" in text
    text = words(platform(celery_queues=["celery"]))
    assert "celery_workers: low: queues" in text
    assert "low, which celery_queues lacks" in text


def test_queue_that_is_read_on_another_host_only() -> None:
    state = platform(("a", "b"), celery_queues=["celery", "low"])
    state["hosts"]["a"]["vars"]["celery_workers"] = [{"name": "celery", "queues": ["celery"]}]
    assert check(state) == []


def test_queue_that_is_the_end_of_another() -> None:
    workers = [{"name": "celery", "queues": ["celery", "my.celery"]}]
    state = platform(celery_workers=workers, celery_queues=["celery", "my.celery"])
    assert "my.celery beside celery" in words(state)
    state["hosts"]["a"]["vars"]["celery_broker"] = "redis"
    assert check(state) == []


@pytest.mark.parametrize(
    ("changes", "variable"),
    [
        ({"celery_stop_wait": 300}, "celery_stop_wait"),
        ({"celery_soft_time_limit": 300}, "celery_time_limit"),
        ({**STOCK, "celery_redis_visibility_timeout": 360}, "celery_redis_visibility_timeout"),
        ({"celery_rabbitmq_consumer_timeout": 200}, "celery_rabbitmq_consumer_timeout"),
    ],
)
def test_chain(changes: dict[str, Any], variable: str) -> None:
    problems = check(platform(**changes))
    assert [problem.variable for problem in problems if problem.level == "error"] == [variable]


def test_the_other_brokers_limit_does_not_matter() -> None:
    assert check(platform(celery_redis_visibility_timeout=1)) == []
    assert check(platform(celery_broker="redis", celery_rabbitmq_consumer_timeout=1)) == []
    assert check(platform(celery_broker="redis", celery_redis_visibility_timeout=1)) == []


def test_the_stock_transport_of_redis_is_called_what_it_is() -> None:
    (problem,) = check(platform(**STOCK))
    assert (problem.level, problem.variable) == ("warning", "celery_redis_transport")
    assert "loses it" in problem.found
    assert check(platform(celery_redis_transport="stock")) == []


def test_evicting_redis() -> None:
    (problem,) = check(platform(celery_broker="redis", redis_maxmemory_policy="allkeys-lru"))
    assert (problem.level, problem.allowed) == ("error", "noeviction")
    (problem,) = check(platform(redis_maxmemory_policy="allkeys-lru"))
    assert problem.level == "warning"


@pytest.mark.parametrize(
    ("group", "hosts", "expected"),
    [
        ("brokers", [], "exactly one host"),
        ("brokers", ["a", "b"], "2 hosts (a, b)"),
        ("results", [], "exactly one host"),
        ("workers", [], "at least one host"),
        ("beat", ["a", "b"], "at most one host"),
        ("database", ["a", "b"], "at most one host"),
        ("monitoring", ["a", "b"], "at most one host"),
    ],
)
def test_groups(group: str, hosts: list[str], expected: str) -> None:
    state = platform(("a", "b"))
    state["groups"][group] = hosts
    text = words(state)
    assert f"group {group}" in text
    assert expected in text


@pytest.mark.parametrize("group", ["database", "beat", "web", "monitoring", "proxy"])
def test_a_group_may_be_left_out(group: str) -> None:
    state = platform()
    del state["groups"][group]
    assert check(state) == []
    state["groups"][group] = []
    assert check(state) == []


@pytest.mark.parametrize("group", ["brokers", "results", "workers"])
def test_a_group_that_nothing_can_do_without(group: str) -> None:
    state = platform()
    del state["groups"][group]
    assert f"group {group}\n   found:   no host" in words(state)


@pytest.mark.parametrize(("group", "switch"), SWITCHES.items())
def test_a_part_that_the_user_switched_on_needs_a_host(group: str, switch: str) -> None:
    switched_on: dict[str, Any] = {switch: True}
    state = platform(**switched_on)
    del state["groups"][group]
    text = words(state)
    assert f"group {group}\n   found:   no host" in text
    assert f"List a host under it, or {switch}: false." in text


@pytest.mark.parametrize(("wrong", "right"), [("proxies", "proxy"), ("beats", "beat"), ("databases", "database")])
def test_a_misspelt_group_is_said(wrong: str, right: str) -> None:
    state = platform()
    state["groups"][wrong] = state["groups"].pop(right)
    (problem,) = check(state)
    assert (problem.level, problem.variable) == ("warning", f"group {wrong}")
    assert f"Did you mean {right}?" in problem.advice


def test_an_application_may_bring_its_own_database() -> None:
    state = platform(celery_app_environment={"DATABASE_URL": "postgres://db.example.org/shop"})
    del state["groups"]["database"]
    assert check(state) == []


@pytest.mark.parametrize("pattern", ["workrs", "bb", "!bb", "&workrs"])
def test_limit_names_what_there_is(pattern: str) -> None:
    state = platform(("a", "b")) | {"limit": ["a", pattern]}
    (problem,) = check(state)
    assert (problem.variable, problem.found) == ("LIMIT= (--limit)", pattern.lstrip("!&"))
    assert (
        check(state | {"limit": ["a", "workers", "!b", "&all", "wor*", "~wor.*", "workers[0]", "@failed.retry"]}) == []
    )


def test_what_is_switched_off_needs_no_host() -> None:
    names = ("beat", "web", "database", "flower")
    switched_off: dict[str, Any] = {f"celery_{name}_enabled": False for name in names}
    state = platform(**switched_off)
    for group in ("beat", "web", "database", "monitoring", "proxy"):
        state["groups"][group] = []
    assert check(state) == []


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"distribution": "Ubuntu", "distribution_major_version": "24"}, "Ubuntu 24"),
        ({"distribution": "Debian", "distribution_major_version": "11"}, "Debian 11"),
        ({"architecture": "armv7l"}, "architecture armv7l"),
    ],
)
def test_hosts(facts: dict[str, str], expected: str) -> None:
    state = platform()
    state["hosts"]["a"]["facts"] = facts
    assert expected in words(state)
    assert "host a" in words(state)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"exists": False}, "does not exist"),
        ({"exists": True, "error": "No lock file in /app", "advice": "uv lock"}, "uv lock"),
        ({"exists": True, "packages": ["django"]}, "lacks celery"),
    ],
)
def test_sources(source: dict[str, Any], expected: str) -> None:
    state = platform()
    state["sources"]["/app"] = source
    assert expected in words(state)


def test_a_problem_of_one_host_names_it_and_one_of_all_is_said_once() -> None:
    state = platform(("a", "b"), celery_broker="x")
    assert len(check(state)) == 1
    assert check(state)[0].hosts == ()
    state["hosts"]["b"]["vars"]["celery_web_port"] = 0
    assert "celery_web_port (b)" in words(state)


def test_hosts_that_disagree() -> None:
    state = platform(("a", "b"))
    state["hosts"]["b"]["vars"]["celery_broker"] = "redis"
    assert "one value for all hosts" in words(state)


def test_all_at_once_errors_first() -> None:
    state = platform(celery_broker="x", celery_app="", redis_maxmemory_policy="allkeys-lru", celery_time_limit=-1)
    assert [problem.level for problem in check(state)] == ["error", "error", "error", "warning"]
    assert words(state).startswith("Nothing was changed: the inventory has 4 problems.\n1. ")


def test_problem_without_advice() -> None:
    assert Problem("x", "1", "2").render() == "x\n   found:   1\n   allowed: 2"
