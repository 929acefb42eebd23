"""Workers and beat send heartbeats, without a broker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import PLAIN, RUNTIME

from celery_on_hosts.liveness import Reporter

BEAT = PLAIN + "app.conf.beat_schedule = {'t': {'task': 'tasks.t', 'schedule': 1.0}}\n@app.task\ndef t(): pass\n"


def start(folder: Path, *arguments: str, program: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "celery_on_hosts", "-A", "tasks", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(RUNTIME), "CELERY_PROGRAM": program, "C_FORCE_ROOT": "1"},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )


def wait_for(path: Path, condition, process: subprocess.Popen[str]) -> dict:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            report = json.loads(path.read_text())
        except (OSError, ValueError):
            report = {}
        if report and condition(report):
            return report
        time.sleep(0.1)
    process.kill()
    raise AssertionError(process.communicate()[1][-3000:])


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_worker(platform, app_dir, tmp_path, pool):
    platform(broker="redis", queue_arguments={})
    worker = start(app_dir(tasks=PLAIN), "worker", "-P", pool, "-c", "1", "-n", "celery@here", program="celery")
    path = tmp_path / "celery.json"
    report = wait_for(path, lambda report: report["connected"], worker)
    assert report["node"] == "celery@here"
    assert report["pid"] == worker.pid
    assert report["queues"] == ["celery", "low"]
    assert report["state"] == "running"
    later = wait_for(path, lambda again: again["heartbeat"] > report["heartbeat"] + 4, worker)
    assert later["loop"] > report["loop"]
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0
    assert not path.exists()


def test_a_worker_that_is_handed_over_leaves_the_report_to_its_successor(tmp_path, monkeypatch):
    monkeypatch.setenv("CELERY_RUN_DIR", str(tmp_path))
    old, new = (Reporter("celery", "worker", dict) for _ in range(2))
    successor = subprocess.Popen(["sleep", "60"])
    new.common["pid"], new.common["started"] = successor.pid, old.common["started"] + 1

    def reported():
        return json.loads((tmp_path / "celery.json").read_text())["pid"]

    old.write()
    new.write()
    old.write()
    assert reported() == successor.pid
    successor.kill()
    successor.wait()
    old.write()
    assert reported() == os.getpid(), "its successor is gone: this process is the program again"


def test_a_worker_by_hand_writes_nothing(platform, app_dir, tmp_path):
    platform(broker="redis", queue_arguments={})
    worker = start(app_dir(tasks=PLAIN), "worker", "-P", "solo", "-l", "INFO", program="")
    for line in worker.stderr:
        if "ready." in line:
            break
    assert not list(tmp_path.glob("*celery*.json"))
    worker.send_signal(signal.SIGTERM)
    worker.communicate(timeout=20)


def test_beat(platform, app_dir, tmp_path):
    platform(broker="redis", queue_arguments={})
    schedule = f"--schedule={tmp_path}/schedule"
    beat = start(app_dir(tasks=BEAT), "beat", schedule, "--pidfile=", program="celerybeat")
    path = tmp_path / "celerybeat.json"
    first = wait_for(path, lambda report: report["kind"] == "beat", beat)
    wait_for(path, lambda report: report["last_tick"] > first["last_tick"] + 2, beat)
    beat.send_signal(signal.SIGTERM)
    beat.communicate(timeout=20)
    assert not path.exists()


def test_inspect_knows_release_before_any_app_is_loaded(platform, app_dir, python):
    platform(broker="redis", queue_arguments={})
    folder = app_dir(tasks=PLAIN)
    for option in ("--list", "--help"):  # Celery before 5.4 has the second only
        done = python(folder, "-m", "celery_on_hosts", "-A", "tasks", "inspect", option)
        if done.returncode == 0:
            break
    assert "release" in done.stdout, done.stderr
