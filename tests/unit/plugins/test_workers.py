"""What an entry of celery_workers means."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.programs import worker_program
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.settings import settings_files
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.workers import Limits, Worker, queues_of
from ansible_collections.celery_on_hosts.platform.runtime.celery_on_hosts.platform_file import Platform

PLATFORM = Platform(app="proj", broker="rabbitmq", queues=("low",))
LIMITS = Limits(time=300, soft=240, stop_wait=360)


def worker(**entry: Any) -> Worker:
    return Worker.parse({"name": "low", "queues": ["low"]} | entry, LIMITS)


def test_the_worker_named_celery_is_the_program_celery() -> None:
    assert worker(name="celery").program == "celery"
    assert worker().program == "celery-low"
    assert worker().report == "/run/celery/celery-low.json"
    assert worker().node("a") == "low@a"


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
    assert worker(**entry).stop_wait == stop_wait


@pytest.mark.parametrize("pool", ["threads", "gevent", "eventlet", "solo"])
def test_only_prefork_is_given_time_limits(pool: str) -> None:
    assert not [argument for argument in worker(pool=pool).arguments if "time-limit" in argument]


def test_a_soft_limit_is_never_above_the_hard_one() -> None:
    assert "--soft-time-limit=100" in worker(time_limit=100).arguments
    assert "--soft-time-limit=50" in worker(time_limit=100, soft_time_limit=50).arguments


def test_own_arguments_come_last() -> None:
    found = worker(arguments=["--without-gossip"], loglevel="DEBUG").arguments
    assert found[-2:] == ("--loglevel=DEBUG", "--without-gossip")


def test_a_percent_sign_is_written_as_supervisord_reads_it() -> None:
    command = worker_program(worker(arguments=["--pidfile=/run/%n.pid"]), "proj", "a").command
    assert command.startswith("/usr/local/bin/celery -A proj worker --hostname=low@%%h ")
    assert command.endswith("--pidfile=/run/%%n.pid")


def test_a_worker_runs_on_the_hosts_and_groups_that_it_names() -> None:
    every, one, group = worker(), worker(hosts=["a"]), worker(hosts=["large"])
    assert [each.placed("a", ["workers"]) for each in (every, one, group)] == [True, True, False]
    assert [each.placed("b", ["workers", "large"]) for each in (every, one, group)] == [True, False, True]
    assert not any(each.placed("c", ["beat"]) for each in (every, one, group))


def test_each_queue_is_named_once() -> None:
    assert queues_of([worker(queues=["a", "b"]), worker(queues=["b", "c"])]) == ["a", "b", "c"]


def test_a_workers_own_environment_is_not_readable_by_all() -> None:
    own = {"celery-low": worker(environment={"TOKEN": "it's"}).environment}
    *_, entry = settings_files("/etc/celery", environment={}, description=PLATFORM, worker_environments=own)
    assert entry == {
        "dest": "/etc/celery/celery-low.environment",
        "secret": "TOKEN='it'\\''s'\n",
        "group": "celery",
        "mode": "0640",
    }


@pytest.mark.parametrize(
    ("entry", "limit", "own"),
    [({}, 300, False), ({"time_limit": 1200}, 1200, True), ({"pool": "threads"}, None, False)],
)
def test_the_runtime_learns_its_limits(entry: dict[str, Any], limit: int | None, own: bool) -> None:
    found = worker(**entry).reader
    assert (found.program, found.queues, found.stop_wait) == ("celery-low", ("low",), (limit or 300) + 60)
    assert (found.time_limit, found.own_limit) == (limit, own)
