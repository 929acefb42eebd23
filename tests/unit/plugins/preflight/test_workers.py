"""Entries of celery_workers: what is wrong is refused in the right words."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.preflight.check import check

from tests.unit.plugins.preflight.platforms import platform, words, worker


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
