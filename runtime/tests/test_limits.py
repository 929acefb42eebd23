"""An application's own time limits hold as under plain Celery, and the platform's are for tasks without any."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from celery import Celery
from conftest import RUNTIME, since

from celery_on_hosts.limits import Limits

LIMITS = {"task_time_limit": 300, "task_soft_time_limit": 240}

IN_MESSAGES = since("5.7", "no message has the limits of settings, which are the worker's")


class Setting:
    task_time_limit = 60


class OldSetting:
    CELERYD_TASK_TIME_LIMIT = 60


class Namespaced:
    CELERY_TASK_TIME_LIMIT = 60


def nothing():
    """Be a task."""


def sent(task, **options):
    """Return the hard and the soft limit in the message of a call."""
    task.apply_async((), **options)
    with task.app.connection_for_read() as connection:
        return connection.default_channel.basic_get("limits", no_ack=True).headers["timelimit"]


@pytest.fixture
def make(platform):
    platform(queues=["limits"], settings=LIMITS)

    def make(configure=lambda app: None):
        app = Celery("x", set_as_current=False)
        configure(app)
        return app

    return make


@IN_MESSAGES
@pytest.mark.parametrize(
    "configure",
    [
        lambda app: setattr(app.conf, "task_time_limit", 60),
        lambda app: app.config_from_object(Setting),
        lambda app: app.config_from_object(OldSetting),
        lambda app: app.config_from_object(Namespaced, namespace="CELERY"),
    ],
)
def test_a_setting_of_the_application_can_be_shorter_than_the_soft_limit(make, configure):
    assert sent(make(configure).task(nothing, shared=False)) == [60, None]


def test_a_message_has_no_limit_but_its_own(make):
    app = make()
    plain, hard, soft = (
        app.task(nothing, name=name, shared=False, **options)
        for name, options in (("plain", {}), ("hard", {"time_limit": 3}), ("soft", {"soft_time_limit": 600}))
    )
    assert sent(plain) == [None, None]
    assert sent(plain, time_limit=3) == [3, None]
    assert sent(plain, soft_time_limit=2) == [None, 2]
    assert sent(hard) == [3, None]
    assert sent(hard, soft_time_limit=2) == [3, 2]
    assert sent(soft) == [None, 600]


@IN_MESSAGES
def test_a_task_whose_own_limits_contradict_each_other_is_refused_as_by_celery(make):
    app = make(lambda app: app.conf.update(task_soft_time_limit=9))
    task = app.task(nothing, shared=False, time_limit=3)
    with pytest.raises(ValueError, match="soft_time_limit must be less than or equal to time_limit"):
        task.delay()


@pytest.mark.parametrize(
    ("own", "limits"), [((None, None), (300, 240)), ((60, None), (60, 240)), ((400, 350), (400, 350)), ((0, 0), (0, 0))]
)
def test_a_worker_has_the_limits_of_the_platform_where_it_is_told_no_other(make, own, limits):
    worker = SimpleNamespace(app=make(), time_limit=own[0], soft_time_limit=own[1])
    Limits(worker)
    assert (worker.time_limit, worker.soft_time_limit) == limits


@pytest.mark.parametrize(
    ("settings", "limits"),
    [
        ({"task_time_limit": 60}, (60, None)),
        ({"task_time_limit": 600, "task_soft_time_limit": 500}, (600, 500)),
        ({"task_soft_time_limit": 100}, (300, 100)),
        ({"task_time_limit": 0}, (300, 240)),
    ],
)
def test_settings_of_the_application_go_before_arguments(make, settings, limits):
    """As the limits of a task do, which is where Celery 5.7 has them."""
    worker = SimpleNamespace(app=make(lambda app: app.conf.update(settings)), time_limit=300, soft_time_limit=240)
    Limits(worker)
    assert (worker.time_limit, worker.soft_time_limit) == limits


WORKER = """
import time
from celery import Celery
app = Celery("tasks")

@app.task
def rest(seconds):
    time.sleep(seconds)
    return "rested"

@app.task
def stubborn():
    try:
        time.sleep(30)
    except BaseException:
        time.sleep(30)

nap = app.task(rest.run, name="tasks.nap", time_limit=1)
longer = app.task(rest.run, name="tasks.longer", time_limit=30)
beyond = app.task(rest.run, name="tasks.beyond", soft_time_limit=60)

@app.task(bind=True, max_retries=1)
def again(self):
    if not self.request.retries:
        self.retry(countdown=0)
    time.sleep(30)
"""
CALLS = """
import json, time
from tasks import *
calls = {
    "the platform's soft limit": rest.delay(30),
    "the platform's hard limit": stubborn.delay(),
    "a task's hard limit": nap.delay(30),
    "a task's long hard limit": longer.delay(2.5),
    "a task's soft limit beyond the platform's hard one": beyond.delay(30),
    "a call's hard limit": rest.apply_async((30,), time_limit=1),
    "a signature's hard limit": rest.s(30).set(time_limit=1).delay(),
    "a call's soft limit": rest.apply_async((30,), soft_time_limit=1),
    "a retry keeps its call's limit": again.apply_async((), time_limit=1),
    "a message of a release that sent the platform's limits": rest.apply_async((30,), time_limit=1, soft_time_limit=2),
}
def result(call):
    found = call.get(timeout=20, propagate=False)
    return " ".join([type(found).__name__, *map(str, found.args)]) if isinstance(found, Exception) else found
print(json.dumps({name: result(call) for name, call in calls.items()}))
"""


def test_limits_hold_in_a_prefork_worker(platform, app_dir, python, server, redis, monkeypatch):
    platform(
        broker="redis",
        queues=["celery"],
        queue_arguments={},
        settings={"task_time_limit": 3, "task_soft_time_limit": 2},
    )
    for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
        monkeypatch.setenv(name, server.url)
    folder = app_dir(tasks=WORKER)
    worker = subprocess.Popen(
        [sys.executable, "-m", "celery_on_hosts", "-A", "tasks", "worker", "--concurrency=10", "--loglevel=WARNING"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(RUNTIME), "C_FORCE_ROOT": "1"},
    )
    try:
        started = time.monotonic()
        done = python(folder, "-c", CALLS)
        took = time.monotonic() - started
    finally:
        worker.terminate()
        worker.wait(20)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "the platform's soft limit": "SoftTimeLimitExceeded",
        "the platform's hard limit": "TimeLimitExceeded 3",
        "a task's hard limit": "TimeLimitExceeded 1",
        "a task's long hard limit": "rested",
        "a task's soft limit beyond the platform's hard one": "TimeLimitExceeded 3",
        "a call's hard limit": "TimeLimitExceeded 1",
        "a signature's hard limit": "TimeLimitExceeded 1",
        "a call's soft limit": "SoftTimeLimitExceeded",
        "a retry keeps its call's limit": "TimeLimitExceeded 1",
        "a message of a release that sent the platform's limits": "TimeLimitExceeded 1",
    }
    assert took < 28  # a task without a limit rests for 30 s
