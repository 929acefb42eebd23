"""What a version of Celery cannot do is made up for, or said."""

from __future__ import annotations

import pytest
from celery import Celery

from celery_on_hosts import upstream, versions
from celery_on_hosts.platform_file import Platform

QUORUM = {"broker": "rabbitmq", "settings": {"broker_heartbeat": 30}, "max_time_limit_s": 300}


@pytest.fixture
def celery(monkeypatch):
    return lambda number: monkeypatch.setattr("celery.__version__", number)


def described(**keys):
    return Platform(**{"app": "tasks", "queues": ("celery",), **keys})


@pytest.mark.parametrize(
    ("number", "keys", "words"),
    [
        *((number, QUORUM, []) for number in ("5.6.0", "5.7.0", "5.7.9")),
        ("5.5.3", QUORUM, ["interval is 180 s instead of 30 s", "after 360 s"]),
        ("5.3.6", QUORUM | {"max_time_limit_s": None}, []),
        ("5.3.6", {"broker": "redis"}, []),
        ("5.6.3", {"broker": "redis", "redis_transport": "stock"}, ["without end", "atomic"]),
        ("5.7.0", {"broker": "redis", "redis_transport": "stock"}, []),
        ("5.8.0", {"broker": "redis"}, ["5.8.0 was not tried", "5.3.0, ", "newer"]),
        ("6.0.0", {"broker": "redis"}, ["6.0.0 was not tried"]),
    ],
)
def test_what_is_said(celery, number, keys, words):
    celery(number)
    found = list(versions.shortcomings(described(**keys)))
    assert len(found) == bool(words)
    for word in words:
        assert word in found[0]


@pytest.mark.parametrize(("number", "seconds"), [("5.5.3", 180), ("5.6.0", 30)])
def test_a_worker_that_sends_no_heartbeats_while_it_stops_has_the_time_of_its_longest_task(
    platform, celery, number, seconds
):
    celery(number)
    platform(settings={"broker_heartbeat": 30}, max_time_limit_s=300)
    assert Celery("x", set_as_current=False).conf.broker_heartbeat == seconds


def test_a_setting_of_the_application_goes_first(platform, celery):
    celery("5.5.3")
    platform(settings={"broker_heartbeat": 30}, max_time_limit_s=300)
    app = Celery("x", set_as_current=False)
    app.conf.broker_heartbeat = 7
    assert app.conf.broker_heartbeat == 7


def test_the_oldest_is_among_those_that_were_tested():
    assert versions.minor(upstream.TESTED["celery"][0]) == versions.minor(upstream.OLDEST_CELERY)
