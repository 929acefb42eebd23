"""celery_accept takes the names of what weakens the promise, and silences preflight's own warnings."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.preflight.check import check

from tests.unit.plugins.preflight.platforms import STOCK, platform, words


def test_a_known_name_is_fine() -> None:
    assert check(platform(celery_accept=["task_acks_late", "redis_maxmemory_policy"])) == []


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (["task_ack_late"], ["celery_accept", "found:   task_ack_late", "Did you mean task_acks_late?", "time_limits"]),
        (["nothing like it"], ["found:   nothing like it", "Remove nothing like it."]),
        ("task_acks_late", ["found:   'task_acks_late'", "a list of names"]),
        ([1], ["found:   [1]"]),
    ],
)
def test_an_unknown_name_is_refused_with_the_known_ones(value: Any, said: list[str]) -> None:
    text = words(platform(celery_accept=value))
    for word in said:
        assert word in text


def test_an_accepted_warning_of_preflight_is_not_said() -> None:
    warned = check(platform(**STOCK))
    assert [problem.variable for problem in warned] == ["celery_redis_transport"]
    assert check(platform(**STOCK, celery_accept=["celery_redis_transport"])) == []


def test_an_error_cannot_be_accepted() -> None:
    state = platform(
        celery_broker="redis", redis_maxmemory_policy="allkeys-lru", celery_accept=["redis_maxmemory_policy"]
    )
    assert [problem.level for problem in check(state)] == ["error"]
