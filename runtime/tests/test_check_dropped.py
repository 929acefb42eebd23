"""The check says which tasks, queues and entries of the schedule a release renames or drops."""

from __future__ import annotations

import json

import pytest
from celery import Celery
from kombu import Connection

from celery_on_hosts import names
from celery_on_hosts.check import dropped
from celery_on_hosts.check.report import Report
from celery_on_hosts.platform_file import Platform

SCHEDULE = {"nightly": {"task": "shop.clean", "schedule": 60}}


@pytest.fixture
def host(platform, tmp_path, monkeypatch):
    """A host whose current release was checked with some names."""
    platform()
    (tmp_path / "current").symlink_to("releases/0123456789ab")
    monkeypatch.setattr(names, "CURRENT_RELEASE", tmp_path / "current")

    def record(**found):
        summaries = {"0123456789ab": {"weaknesses": [], "names": found}}
        (tmp_path / "releases.json").write_text(json.dumps({"worked": [], "summaries": summaries}))

    return record


def check(schedule=(), scheduler="") -> Report:
    app = Celery("x", set_as_current=False)
    app.conf.beat_schedule = dict(schedule)
    if scheduler:
        app.conf.beat_scheduler = scheduler
    app.task(name="shop.pay", shared=False)(check)
    report = Report("x")
    dropped.check(app, report)
    return report


def test_nothing_is_said_where_nothing_is_gone(host):
    host(tasks=["shop.pay"], schedule=["nightly"])
    report = check(SCHEDULE)
    assert report.weaknesses == []
    assert report.summary()["names"] == {"tasks": ["shop.pay"], "schedule": ["nightly"]}


def test_tasks_that_are_gone(host):
    host(tasks=["shop.pay", "shop.mail", "shop.ship"], schedule=[])
    (said,) = check().weaknesses
    assert (
        said.found == "release 0123456789ab, which ran before, has tasks shop.mail, shop.ship, and this release has not"
    )
    assert "dead-lettered" in said.consequence
    assert "make dead" in said.remedy
    assert said.once


@pytest.mark.parametrize(
    ("scheduler", "words"),
    [("", "does not send"), ("django_celery_beat.schedulers:DatabaseScheduler", "goes on sending")],
)
def test_an_entry_that_is_gone(host, scheduler, words):
    host(tasks=["shop.pay"], schedule=["nightly"])
    (said,) = check(scheduler=scheduler).weaknesses
    assert "has entry nightly in beat_schedule" in said.found
    assert words in said.consequence


@pytest.mark.parametrize("text", [None, "{", "[]", '{"summaries": {}}', '{"summaries": {"0123456789ab": {}}}'])
def test_a_host_that_has_recorded_nothing(host, tmp_path, text):
    if text is not None:
        (tmp_path / "releases.json").write_text(text)
    assert check().weaknesses == []


def test_a_queue_that_nobody_reads_any_more(platform, redis, server, tmp_path, monkeypatch):
    monkeypatch.setattr(names, "PLATFORM_FILE", str(tmp_path / "used.json"))
    (tmp_path / "used.json").write_text(json.dumps({"queues": ["celery", "mail", "empty"]}))
    platform(broker="redis", queue_arguments={}, queues=["celery"])
    report = Report("x")
    with Connection(server.url) as connection:
        for queue in ("mail", "celery"):
            connection.SimpleQueue(queue).put("x")
        dropped.check_queues(connection, Platform.load(), report)
    (said,) = report.weaknesses
    assert said.found == "no worker reads queue 'mail' any more, and 1 message waits in it"
    assert "celery_workers" in said.remedy
    assert said.once
