"""Queues that an application declares itself, broadcasts among them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest
from celery import Celery
from conftest import PLAIN, RUNTIME
from kombu import Exchange, Queue
from kombu.common import Broadcast

from celery_on_hosts import own_queues, processes
from celery_on_hosts.check.declare import declare, explain
from celery_on_hosts.health.inspector import Inspector
from celery_on_hosts.platform_file import Platform

QUEUES = ["celery", "low", "reload_all"]
WORKER = {"program": "celery", "kind": "worker", "node": "celery@here", "queues": QUEUES}


def make(**conf) -> Celery:
    app = Celery("x", set_as_current=False)
    app.conf.update(conf)
    return app


def listed():
    return [Broadcast("reload_all")]


def mapped():
    return {"reload_all": Broadcast("reload_all"), "old": {"exchange": "old", "routing_key": "old"}}


@pytest.mark.parametrize("queues", [listed, mapped])
def test_the_queues_that_workers_read_are_added(platform, queues):
    platform(queues=QUEUES)
    app = make(task_queues=queues())
    known = own_queues.declared(app)
    assert set(QUEUES) <= set(known)
    assert own_queues.broadcasts(app) == {"reload_all"}
    assert known["celery"].queue_arguments == {"x-queue-type": "quorum"}
    assert (known["celery"].exchange.name, known["celery"].exchange.type) == ("celery", "topic")


def test_what_the_application_declares_stays(platform):
    platform(queues=QUEUES)
    own = [Queue("celery", Exchange("shop", type="direct"), routing_key="shop"), Queue("reload_all", routing_key="r")]
    known = own_queues.declared(make(task_queues=own))
    assert known["celery"].exchange.name == "shop"
    assert sorted(known) == sorted(QUEUES)


def test_a_queue_of_options_keeps_its_dead_letters(platform):
    """As a queue of kombu's does: on a broker that exists elsewhere no policy sees to it."""
    dead = {"x-dead-letter-exchange": "celery.dead"}
    platform(queues=QUEUES, queue_arguments={"x-queue-type": "quorum"} | dead)
    own = {"low": {"exchange": "shop", "exchange_type": "direct", "binding_key": "cheap"}}
    low = own_queues.declared(make(task_queues=own))["low"]
    assert low.queue_arguments == dead
    assert (low.exchange.name, low.exchange.type, low.routing_key) == ("shop", "direct", "cheap")


def test_a_broadcast_gets_none_of_the_default_queues_delayed_tasks(platform):
    platform(queues=QUEUES)
    known = own_queues.declared(make(task_queues=[Queue("celery"), Broadcast("reload_all")]))
    assert known["reload_all"].routing_key == "reload_all"


BROADCAST = (
    PLAIN
    + """
from kombu import Queue
from kombu.common import Broadcast
app.conf.task_queues = (Queue("celery"), Broadcast("reload_all"))
app.conf.task_routes = {"tasks.reload": {"queue": "reload_all", "exchange": "reload_all"}}
@app.task
def reload(): pass
"""
)


@pytest.fixture
def check(platform, app_dir, python):
    def run(text, **keys):
        platform(**keys)
        done = python(app_dir(tasks=text), "-m", "celery_on_hosts.check", "--app", "tasks", "--json")
        return done.returncode, json.loads(done.stdout), done.stderr

    return run


def test_a_broadcast_is_known_by_its_alias(check):
    code, report, stderr = check(BROADCAST, queues=QUEUES, programs=[WORKER])
    assert code == 0, stderr
    assert "bcast." not in stderr + json.dumps(report)
    assert "task tasks.reload" in report["queues"]["reload_all"]
    code, _, stderr = check(BROADCAST, queues=QUEUES[:2])
    assert code == 1
    assert "no worker reads queue 'reload_all'" in stderr


def test_queues_that_get_each_others_tasks_are_said(check):
    text = "from kombu import Queue\napp.conf.task_queues = [Queue('celery'), Queue('low')]\n"
    _, report, stderr = check(PLAIN + text)
    assert "queues celery, low are bound to the exchange 'celery' by the same key, 'celery'" in stderr
    assert {one["name"] for one in report["weaknesses"]} == {"task_queues"}
    assert "bound" not in check(PLAIN)[2]


RELOAD = """
import os
from celery import Celery
from kombu import Queue
from kombu.common import Broadcast
app = Celery("tasks")
app.conf.task_queues = (Queue("celery"), Broadcast("reload_all"))
app.conf.task_routes = {"tasks.routed": {"queue": "reload_all", "exchange": "reload_all"}}
@app.task(ignore_result=True)
def routed(): note("routed")
@app.task(ignore_result=True)
def sent(): note("sent")
def note(text):
    with open("ledger", "a") as ledger:
        ledger.write(f"{text} {os.environ['NODE']}\\n")
"""


@pytest.fixture
def workers(app_dir):
    """Start workers of an application in processes of their own, which read QUEUES."""
    running = []

    def start(text: str, *nodes: str):
        folder = app_dir(tasks=text)
        for node in nodes:
            command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-P", "solo", "-n", f"{node}@here"]
            env = {**os.environ, "PYTHONPATH": str(RUNTIME), "C_FORCE_ROOT": "1", "NODE": node}
            with (folder / f"{node}.log").open("w") as log:
                options = {"cwd": folder, "env": env, "stdout": log, "stderr": log}
                running.append(subprocess.Popen([*command, "-Q", ",".join(QUEUES), "-l", "INFO"], **options))
        logs = [folder / f"{node}.log" for node in nodes]
        assert until(lambda: all("ready." in log.read_text() for log in logs)), [log.read_text() for log in logs]
        return folder

    yield start
    for worker in running:
        worker.terminate()
    for worker in running:
        worker.wait(30)


def until(true, seconds=60.0):
    """Wait until something is true, and return whether it is."""
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
    return true()


def test_a_broadcast_reaches_each_worker_over_redis(platform, redis, server, monkeypatch, tmp_path, workers, python):
    """Sent by a process that has declared nothing; Celery's own transport leaves such a message where nobody reads."""
    monkeypatch.setenv("CELERY_BROKER_URL", server.url)
    monkeypatch.setenv("CELERY_RESULT_BACKEND", server.url)
    platform(broker="redis", queue_arguments={}, queues=QUEUES, programs=[WORKER])
    folder = workers(RELOAD, "a", "b")
    done = python(folder, "-c", "import tasks; tasks.routed.delay(); tasks.sent.apply_async(queue='reload_all')")
    assert done.returncode == 0, done.stderr
    ledger = folder / "ledger"
    assert until(lambda: ledger.exists() and len(ledger.read_text().split()) == 8)
    assert sorted(ledger.read_text().splitlines()) == ["routed a", "routed b", "sent a", "sent b"]
    assert "Traceback" not in (folder / "a.log").read_text()

    monkeypatch.setattr(processes, "read", lambda pid, name: b"celery" if pid == os.getpid() else b"")
    now = time.time()
    alive = {"pid": os.getpid(), "started": now - 9, "heartbeat": now, "loop": now, "state": "running"}
    (tmp_path / "celery.json").write_text(json.dumps(alive | {"connected": True, "queues": QUEUES}))
    inspector = Inspector(Platform.load(), timeout=10, own=True)
    inspector._app = make(task_queues=[Queue("celery"), Broadcast("reload_all")])
    found = {(one.layer, one.name): one for one in inspector.look().checks}
    assert found["queues", "reload_all"].detail == "a broadcast, of which each worker has a queue"
    assert found["canary", "reload_all"].ok, found["canary", "reload_all"].detail


def test_a_broadcast_is_no_queue_to_declare(platform, redis, server, monkeypatch):
    monkeypatch.setenv("CELERY_BROKER_URL", server.url)
    platform(broker="redis", queue_arguments={}, queues=QUEUES)
    assert declare(make(task_queues=[Broadcast("reload_all")]), Platform.load()) == ["celery", "low"]


def test_a_broadcast_is_refused_where_it_reaches_nobody(check):
    code, _, stderr = check(BROADCAST, broker="redis", queue_arguments={}, redis_transport="stock", queues=QUEUES)
    assert code == 1
    assert "reload_all is a broadcast, whose messages kombu's stock transport leaves where no worker reads" in stderr


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            "(406) PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'mail' in vhost 'celery': "
            "received 'topic' but current is 'direct'",
            ["the exchange 'mail' exists with type 'direct', and this release wants 'topic'", "Exchange('mail.topic'",
             "celery -A shop amqp exchange.delete mail false)"],
        ),
        (
            "(406) PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'mail' in vhost 'celery': "
            "received 'quorum' but current is 'classic'",
            ["the queue 'mail' exists with x-queue-type 'classic'", "amqp queue.delete mail false false)"],
        ),
        ("(403) ACCESS_REFUSED", ["refuses a queue or exchange: (403) ACCESS_REFUSED"]),
    ],
)  # fmt: skip
def test_what_exists_with_other_arguments_comes_with_a_way_out(said, words):
    text = explain("shop", said)
    for word in words:
        assert word in text
