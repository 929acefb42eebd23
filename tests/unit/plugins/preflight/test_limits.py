"""Limits and what waits for them: what is wrong is refused in the right words."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.preflight.check import check

from tests.unit.plugins.preflight.platforms import STOCK, platform


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


@pytest.mark.parametrize("limit", ["25%", "512mb", "2GB", "1073741824", 1073741824])
def test_memory_of_redis(limit: str | int) -> None:
    assert check(platform(redis_maxmemory=limit)) == []


@pytest.mark.parametrize("limit", ["0%", "250%", "512 mb", "half", "", 0])
def test_memory_of_redis_that_it_cannot_have(limit: str | int) -> None:
    (problem,) = check(platform(redis_maxmemory=limit))
    assert (problem.level, problem.variable) == ("error", "redis_maxmemory")
    assert "25%" in problem.allowed


def test_evicting_redis() -> None:
    (problem,) = check(platform(celery_broker="redis", redis_maxmemory_policy="allkeys-lru"))
    assert (problem.level, problem.allowed) == ("error", "noeviction")
    (problem,) = check(platform(redis_maxmemory_policy="allkeys-lru"))
    assert problem.level == "warning"
