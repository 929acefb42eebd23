"""The health of a host whose heartbeats, broker and pages are made by hand."""

from __future__ import annotations

import http.server
import json
import os
import socket
import threading
import time

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker
from conftest import since

from celery_on_hosts import names, processes
from celery_on_hosts.health import queues, report
from celery_on_hosts.health.canaries import Canaries
from celery_on_hosts.health.inspector import Inspector
from celery_on_hosts.platform_file import Platform

WORKER = {"program": "celery", "kind": "worker", "node": "celery@here", "queues": ["celery", "low"]}
BEAT = {"program": "celerybeat", "kind": "beat"}


@pytest.fixture
def host(platform, tmp_path, monkeypatch):
    """A host: programs that should run, and what they last reported; returns an Inspector of it."""
    monkeypatch.setattr(processes, "read", lambda pid, name: b"celery" if pid == os.getpid() else b"")
    monkeypatch.setattr(names, "CURRENT_RELEASE", tmp_path / "current")

    def make(programs, *reports, canary=False, **keys) -> Inspector:
        platform(broker="redis", queue_arguments={}, programs=programs, **keys)
        for one in reports:
            (tmp_path / f"{one['program']}.json").write_text(json.dumps(one))
        inspector = Inspector(Platform.load(), timeout=5, canary=canary)
        inspector._app = Celery("health", set_as_current=False)
        return inspector

    return make


def worker(**fields):
    now = time.time()
    return {
        **WORKER,
        "pid": os.getpid(),
        "release": "r1",
        "started": now - 100,
        "heartbeat": now,
        "loop": now,
        "state": "running",
        "connected": True,
        "pool": "prefork",
        "concurrency": 2,
        "active": 0,
    } | fields


def beat(**fields):
    now = time.time()
    common = {**BEAT, "pid": os.getpid(), "release": "r1", "started": now, "heartbeat": now}
    return common | {"last_tick": now, "interval": 5} | fields


def failed(found: report.Health) -> dict[str, str]:
    return {f"{check.layer} {check.name}": check.detail for check in found.checks if not check.ok}


def test_healthy(host):
    found = host([WORKER, BEAT], worker(), beat()).look()
    assert failed(found) == {}
    assert found.code == report.HEALTHY
    assert [check.layer for check in found.checks] == [
        "process", "process", "consuming", "beat", "queues", "queues", "queues", "release"]  # fmt: skip


def test_the_database_has_to_listen(host, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setenv("DATABASE_URL", f"postgresql://celery:secret@127.0.0.1:{port}/celery")
        assert host([WORKER], worker()).look().code == report.HEALTHY
    away = host([WORKER], worker()).look()
    assert away.code == report.UNHEALTHY
    assert "refused" in failed(away)[f"database 127.0.0.1:{port}"]
    monkeypatch.setenv("DATABASE_URL", "postgis://celery:secret@away/celery")  # as the application wants it
    monkeypatch.setenv("PGHOST", "127.0.0.1")
    monkeypatch.setenv("PGPORT", str(port))
    assert f"database 127.0.0.1:{port}" in failed(host([WORKER], worker()).look())
    monkeypatch.delenv("PGHOST")
    monkeypatch.setenv("DATABASE_URL", "sqlite:////tmp/db")
    assert host([WORKER], worker()).look().code == report.HEALTHY


@pytest.mark.parametrize(
    ("fields", "check", "words"),
    [
        ({"pid": 1 << 30}, "process celery", "is gone"),
        ({"heartbeat": 0}, "process celery", "no heartbeat for"),
        ({"connected": False}, "consuming celery", "not connected"),
        ({"queues": ["celery"]}, "consuming celery", "does not read low"),
        ({"state": "stopping", "active": 3}, "consuming celery", "3 tasks still run"),
        ({"loop": time.time() - 600}, "consuming celery", "main loop has stood still"),
    ],
)
def test_unhealthy_worker(host, fields, check, words):
    found = host([WORKER], worker(**fields)).look()
    assert found.code == report.UNHEALTHY
    assert words in failed(found)[check]
    assert all(check.advice for check in found.checks if not check.ok)


def test_nothing_reported(host):
    found = host([WORKER, BEAT]).look()
    assert "not running" in failed(found)["process celery"]
    assert "no report" in failed(found)["beat celerybeat"]


def test_a_solo_worker_may_be_busy_for_long(host):
    found = host([WORKER], worker(loop=time.time() - 600, pool="solo", active=1)).look()
    assert found.code == report.HEALTHY


def test_beat_that_does_not_tick(host):
    assert failed(host([BEAT], beat(last_tick=time.time() - 120)).look()).keys() == {"beat celerybeat"}


def test_beat_that_sleeps_longer_by_choice(host):
    assert host([BEAT], beat(last_tick=time.time() - 120, interval=300)).look().code == report.HEALTHY


def test_a_drained_host_says_so(host):
    found = host([BEAT], beat(), drained=True).look()
    assert failed(found) == {"consuming workers": "stopped: this host is drained"}
    assert found.code == report.DEGRADED
    ending = host([BEAT], beat(), worker(state="stopping"), worker(program="gone", pid=1), drained=True).look()
    assert failed(ending) == failed(found)


def test_a_drained_host_whose_worker_works_on_is_unhealthy(host):
    found = host([BEAT], beat(), worker(), drained=True).look()
    assert failed(found) == {"consuming workers": "this host is drained, and celery works on"}
    assert found.code == report.UNHEALTHY


def test_mixed_releases(host, tmp_path):
    (tmp_path / "current").symlink_to("releases/r2")
    found = host([WORKER, BEAT], worker(release="r2"), beat()).look()
    assert failed(found) == {"release current": "celery: r2; celerybeat: r1; current is r2"}
    assert found.checks[-1].advice == "supervisorctl restart celerybeat"


def test_what_a_worker_leaves_out_is_a_warning(host):
    found = host([WORKER], worker(left_out=["chords: not with celery 9.0.0"])).look()
    assert failed(found) == {"upstream celery": "chords: not with celery 9.0.0"}
    assert found.code == report.DEGRADED


def test_a_full_queue_is_a_warning(host, monkeypatch):
    monkeypatch.setattr(queues, "WAITING_WARNING", 1)
    inspector = host([WORKER], worker())
    for _ in range(2):
        inspector._app.send_task("any", queue="low")
    found = inspector.look()
    assert found.code == report.DEGRADED
    assert failed(found) == {"queues low": "2 waiting"}
    with inspector._app.connection() as connection:
        connection.default_channel._purge("low")


def test_canary(host):
    inspector = host([WORKER], worker(), canary=True)
    with start_worker(inspector._app, pool="solo", perform_ping_check=False):
        found = inspector.look()
    assert failed(found) == {}
    assert [check.name for check in found.checks if check.layer == "canary"] == ["celery", "low"]


@pytest.mark.parametrize("store", ["disabled", "rpc://", "cache+memory://"])
def test_a_canary_returns_over_redis_whatever_keeps_results(host, redis, server, monkeypatch, store):
    """Without a result store the worker sends what the canary returns to whoever asks."""
    monkeypatch.setenv("CELERY_BROKER_URL", server.url)
    monkeypatch.setenv("CELERY_RESULT_BACKEND", store)
    inspector = host([WORKER], worker(), canary=True)
    with start_worker(inspector._app, pool="solo", perform_ping_check=False):
        for _ in range(2):
            assert failed(inspector.look()) == {}
    assert {key for key in redis.keys("*") if not key.startswith(("_kombu.binding", "celery.wake."))} == set()


def test_a_canary_that_another_host_ran_says_nothing_of_this_one(host, monkeypatch):
    queues = ["celery", "low", "mail"]
    reader = WORKER | {"queues": queues}
    inspector = host([reader], worker(queues=queues), canary=True, queues=queues)
    inspector.own = True
    inspector.timeout = 3
    ran = {"celery": ["celery@there", "celery@here"], "low": ["celery@there"] * 100_000, "mail": ["celery@there", ""]}

    def answer(_, queue, *__):
        node = ran[queue].pop(0)
        return report.Check("canary", queue, bool(node), f"back from {node}" if node else "not back"), node

    monkeypatch.setattr(Canaries, "_wait", answer)
    said = {check.name: check.detail for check in inspector.look().checks if check.layer == "canary"}
    assert said == {
        "celery": "back from celery@here",
        "low": "other workers ran them all, celery@here none",
        "mail": "not back",
    }
    with inspector._app.connection() as connection:
        for queue in ran:
            connection.default_channel._purge(queue)


def test_canary_behind_busy_workers_is_a_warning(host):
    inspector = host([WORKER], worker(active=2), canary=True)
    inspector.timeout = 0.3
    found = inspector.look()
    assert found.code == report.DEGRADED
    assert "busy" in failed(found)["canary low"]


def test_canary_behind_canaries_is_an_error(host):
    """As in a release in which each canary kills its process: all slots are taken, and some canaries wait."""
    inspector = host([WORKER], worker(active=2, canaries=2), canary=True)
    inspector.timeout = 0.3
    for _ in range(2):
        found = inspector.look()
    assert found.code == report.UNHEALTHY
    assert "not back after 0.3 s" in failed(found)["canary low"]


def test_canary_that_nobody_runs(host):
    inspector = host([WORKER], worker(), canary=True, queues=["celery", "other"])
    inspector.timeout = 0.3
    found = inspector.look()
    assert "not back after 0.3 s" in failed(found)["canary other"]


@since("5.7", "settings of limits refuse no call")
def test_a_canary_is_sent_as_the_application_sends_its_tasks(host):
    inspector = host([WORKER], worker(), canary=True)
    inspector._app.conf.update(task_soft_time_limit=90, task_time_limit=60)
    found = inspector.look()
    assert found.code == report.UNHEALTHY
    assert "not accepted: soft_time_limit must be less than" in failed(found)["canary low"]


@pytest.fixture
def web():
    """Answer with the status that the page names; with 400 on /named where the Host is not shop.example.org."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            named = self.path == "/named" and self.headers["Host"] == "shop.example.org"
            self.send_response(200 if named else 400 if self.path == "/named" else int(self.path[1:]))
            self.send_header("Location", "/500")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://user:secret@127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize(
    ("status", "below", "healthy"),
    [
        (200, 400, True),
        (301, 400, True),  # a redirect is not followed
        (404, 400, False),
        (503, 400, False),
        (301, 500, True),
        (400, 500, True),
        (404, 500, True),
        (500, 500, False),
        (503, 500, False),
    ],
)
def test_web(host, web, status, below, healthy):
    found = host([{"program": "web", "kind": "web", "url": f"{web}/{status}", "below": below}]).look()
    assert (found.code == report.HEALTHY) is healthy
    assert f"answers {status}" in found.as_text()
    assert "secret" not in found.as_text()


def test_web_is_asked_by_a_name_that_it_allows(host, web):
    program = {"program": "web", "kind": "web", "url": f"{web}/named"}
    detail = failed(host([program]).look())["web web"]
    assert "answers 400, not 200 to 399" in detail
    found = host([program | {"host": "shop.example.org"}]).look()
    assert found.code == report.HEALTHY
    assert "(Host: shop.example.org) answers 200" in found.as_text()


def test_web_that_is_away(host, tmp_path):
    found = host([{"program": "web", "kind": "web", "url": f"unix:{tmp_path}/none.sock:/"}]).look()
    assert "does not answer" in failed(found)["web web"]


def test_command(platform, app_dir, python):
    platform(broker="redis", queue_arguments={}, programs=[WORKER])
    folder = app_dir(tasks="from celery import Celery\napp = Celery('tasks')\n")
    done = python(folder, "-m", "celery_on_hosts.health", "--json", "--wait", "1")
    said = json.loads(done.stdout)
    assert (done.returncode, said["status"]) == (2, "unhealthy")
    assert {"layer", "name", "ok", "severity", "detail", "advice", "seconds"} == set(said["checks"][0])
    done = python(folder, "-m", "celery_on_hosts.health", CELERY_PLATFORM="/nowhere")
    assert (done.returncode, done.stdout) == (3, "")
    assert "cannot be read" in done.stderr
