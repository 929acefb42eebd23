"""The whole: what is wrong is refused in the right words."""

from __future__ import annotations

from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.preflight.check import check
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.preflight.problem import Problem

from tests.unit.plugins.preflight.platforms import platform, words


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
