"""The filters that turn entries of celery_workers into programs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit import rendering  # noqa: F401  # finds the collection

from ansible_collections.celery_on_hosts.platform.plugins.filter.workers import (  # isort: skip
    environment_file,
    worker_program,
    workers_of,
)

LIMITS = {"time_limit": 300, "soft_time_limit": 240, "stop_wait": 360}


def program(**entry: Any) -> dict[str, Any]:
    return worker_program({"name": "low", "queues": ["low"]} | entry, LIMITS, "a")


def test_the_worker_named_celery_is_the_program_celery() -> None:
    assert worker_program({"name": "celery", "queues": ["celery"]}, LIMITS)["program"] == "celery"
    assert program()["program"] == "celery-low"
    assert program()["node"] == "low@a"


@pytest.mark.parametrize(
    ("entry", "stop_wait"),
    [
        ({}, 360),
        ({"time_limit": 1200}, 1260),
        ({"time_limit": 1200, "stop_wait": 5000}, 5000),
        ({"pool": "threads"}, 360),
    ],
)
def test_a_worker_may_take_longer_to_stop_when_its_tasks_may(entry: dict[str, Any], stop_wait: int) -> None:
    assert program(**entry)["stop_wait"] == stop_wait


@pytest.mark.parametrize("pool", ["threads", "gevent", "eventlet", "solo"])
def test_only_prefork_is_given_time_limits(pool: str) -> None:
    assert not [argument for argument in program(pool=pool)["arguments"] if "time-limit" in argument]


def test_a_soft_limit_is_never_above_the_hard_one() -> None:
    assert "--soft-time-limit=100" in program(time_limit=100)["arguments"]
    assert "--soft-time-limit=50" in program(time_limit=100, soft_time_limit=50)["arguments"]


def test_own_arguments_come_last() -> None:
    assert program(arguments=["--without-gossip"], loglevel="DEBUG")["arguments"][-2:] == [
        "--loglevel=DEBUG",
        "--without-gossip",
    ]


def test_a_worker_runs_on_the_hosts_and_groups_that_it_names() -> None:
    every: dict[str, Any] = {"name": "celery"}
    one, group = every | {"hosts": ["a"]}, every | {"hosts": ["large"]}
    entries = [every, one, group]
    assert workers_of(entries, "a", ["workers"]) == [every, one]
    assert workers_of(entries, "b", ["workers", "large"]) == [every, group]
    assert workers_of(entries, "c", ["beat"]) == []


def test_a_workers_own_environment_is_not_readable_by_all() -> None:
    entry = environment_file(program(environment={"TOKEN": "it's"}), "/etc/celery")
    assert entry == {
        "dest": "/etc/celery/celery-low.environment",
        "secret": "TOKEN='it'\\''s'\n",
        "group": "celery",
        "mode": "0640",
    }
