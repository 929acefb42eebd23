"""The check of what an application chooses itself: result store, TLS, beat's scheduler."""

from __future__ import annotations

import json
import socket

import pytest
from celery import Celery
from conftest import PLAIN

from celery_on_hosts.check import results
from celery_on_hosts.check.report import Report

PLATFORMS = "redis://:secret@broker.example:6379/1"


@pytest.fixture
def check(platform, app_dir, python, monkeypatch):
    """Check a tasks.py where the inventory has decided nothing; returns the exit code, the JSON report and stderr."""
    monkeypatch.setenv("CELERY_PLATFORM_RESULTS", PLATFORMS)

    def run(text: str, *, settings: str = "", **keys):
        platform(**keys | ({"state": ["db.sqlite3"]} if settings else {}))
        env = {"CELERY_RESULT_BACKEND": PLATFORMS, "CELERY_BROKER_URL": "redis://:secret@broker.example:6379/0"}
        env |= {"DJANGO_SETTINGS_MODULE": "settings"} if settings else {}
        folder = app_dir(tasks=text, **({"settings": settings} if settings else {}))
        done = python(folder, "-m", "celery_on_hosts.check", "--app", "tasks", "--json", **env)
        assert "secret" not in done.stdout + done.stderr
        return done.returncode, json.loads(done.stdout), done.stderr

    return run


@pytest.mark.parametrize(
    ("own", "used"),
    [
        ("'rpc://'", "rpc://"),
        ("'redis://localhost'", "redis://:**@broker.example:6379/1"),
        ("'disabled'", "disabled"),
    ],
)
def test_the_store_that_is_used_is_named(check, own, used):
    code, report, stderr = check(f"{PLAIN}app.conf.result_backend = {own}\n")
    assert (code, report["results"], stderr) == (0, used, "")


@pytest.mark.parametrize("own", ["mongodb://u:secret@store.example/results", "nowhere://u:secret@h/x"])
def test_a_store_that_does_not_load_is_refused(check, own):
    code, _, stderr = check(f"{PLAIN}app.conf.result_backend = '{own}'\n@app.task\ndef add(): pass\n")
    assert code == 1
    assert f"result_backend is {own.replace('secret', '**')}, in the application, which does not load: " in stderr
    assert "the package that it needs to the application's lock, or set celery_result_backend" in stderr
    assert stderr.count("error:") == 1


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (
            "broker_use_ssl = True",
            "broker_use_ssl is set in the application, but the broker, redis://:**@broker.example",
        ),
        ("redis_backend_use_ssl = {'ssl_cert_reqs': None}", "redis_backend_use_ssl is set in the application"),
    ],
)
def test_tls_where_there_is_none_is_refused(check, setting, words):
    code, _, stderr = check(f"{PLAIN}app.conf.{setting}\n")
    assert code == 1
    assert words in stderr


@pytest.mark.parametrize(("address", "warned"), [("192.0.2.7", True), ("127.0.1.1", False), (None, False)])
def test_a_name_that_this_host_knows_may_be_no_container(monkeypatch, address, warned):
    def lookup(name):
        assert name == "cache1"
        if address is None:
            raise OSError("not known")
        return address

    monkeypatch.setattr(socket, "gethostbyname", lookup)
    report = Report("tasks")
    results._check_replaced("redis://:secret@cache1:6379/0", report)
    assert [one.name for one in report.weaknesses] == (["result_backend"] if warned else [])
    assert not warned or "cache1 is 192.0.2.7 here" in report.warnings[0]
    assert "secret" not in "".join(report.warnings)


def test_an_application_that_reads_the_platforms_address_is_not_blamed(monkeypatch):
    address = "redis://:secret@cache1:6379/1"
    for variable in ("CELERY_RESULT_BACKEND", "CELERY_PLATFORM_RESULTS"):
        monkeypatch.setenv(variable, address)
    monkeypatch.setattr(socket, "gethostbyname", lambda name: "192.0.2.7")
    for own, names in ((address, []), ("redis://cache2:6379/1", ["result_backend"])):
        report = Report("tasks")
        app = Celery("tasks", set_as_current=False, changes={"result_backend": own})
        assert results.check(app, report)
        assert [one.name for one in report.weaknesses] == names


BEAT = [{"program": "celerybeat", "kind": "beat"}]
DATABASE = "django_celery_beat.schedulers:DatabaseScheduler"
SETTINGS = """
import os
USE_TZ = True
INSTALLED_APPS = ["django.contrib.contenttypes", "django_celery_beat"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.path.abspath("../db.sqlite3")}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"""


def test_a_schedule_that_beat_does_not_run_is_said(check):
    for keys, names in (({"programs": BEAT}, ["beat_scheduler"]), ({}, [])):
        _, report, _ = check(PLAIN, settings=SETTINGS, **keys)
        assert [one["name"] for one in report["weaknesses"]] == names
    _, report, stderr = check(PLAIN, settings=SETTINGS, programs=BEAT)
    assert f"what django_celery_beat keeps is not run. Set celery_beat_scheduler: {DATABASE}" in stderr
    assert check(f"{PLAIN}app.conf.beat_scheduler = '{DATABASE}'\n", settings=SETTINGS, programs=BEAT)[::2] == (0, "")
    assert check(PLAIN, settings=SETTINGS, programs=[BEAT[0] | {"scheduler": "django"}])[::2] == (0, "")
    assert check(PLAIN, programs=BEAT)[::2] == (0, ""), "installed, and not among INSTALLED_APPS"


def test_a_scheduler_that_does_not_load_is_refused(check):
    code, _, stderr = check(PLAIN, programs=[BEAT[0] | {"scheduler": "gone.schedulers:Scheduler"}])
    assert code == 1
    assert "celery_beat_scheduler is 'gone.schedulers:Scheduler', which does not load: " in stderr


ROWS = """
import django; django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from django_celery_beat.models import IntervalSchedule, PeriodicTask
every = IntervalSchedule.objects.create(every=1, period="days")
for name, task, enabled in (("a", "tasks.old", True), ("b", "tasks.older", False), ("c", "tasks.add", True)):
    PeriodicTask.objects.create(name=name, task=task, enabled=enabled, interval=every)
"""


def test_an_entry_of_beats_database_whose_task_is_gone_is_said(check, app_dir, python):
    folder = app_dir(settings=SETTINGS, fill=ROWS)
    done = python(folder, "fill.py", DJANGO_SETTINGS_MODULE="settings", CELERY_LOADER="", CELERY_PLATFORM_RESULTS="")
    assert done.returncode == 0, done.stderr
    text = f"{PLAIN}app.conf.beat_scheduler = '{DATABASE}'\n@app.task\ndef add(): pass\n"
    code, report, stderr = check(text, settings=SETTINGS, programs=BEAT)
    assert (code, [one["name"] for one in report["weaknesses"]]) == (0, ["beat_schedule"])
    assert "the entry 'a' of beat's database sends 'tasks.old'" in stderr
