"""Queues and who reads them: what is wrong is refused in the right words."""

from __future__ import annotations

from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.preflight.check import check

from tests.unit.plugins.preflight.platforms import platform, words


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
