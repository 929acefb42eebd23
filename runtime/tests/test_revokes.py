"""A revoke outlasts the process that heard it."""

from __future__ import annotations

import json
import time

import pytest
from celery import Celery
from celery.worker import state
from test_liveness import start, wait_for

from celery_on_hosts.revokes import Revokes

TASKS = """
from celery import Celery
app = Celery("tasks")

@app.task
def add(x, y):
    return x + y
"""


@pytest.fixture(autouse=True)
def nothing_revoked():
    state.reset_state()
    yield
    state.reset_state()


@pytest.fixture
def revokes(tmp_path):
    return lambda program="celery": Revokes(program, tmp_path / "revokes")


def lines(tmp_path, program="celery"):
    return [json.loads(line) for line in (tmp_path / "revokes" / program).read_text().splitlines()]


def forget():
    state.reset_state()


def test_a_successor_knows_what_was_revoked(revokes, tmp_path):
    first = revokes()
    first.read()
    state.revoked.update(["a", "b"])
    state.revoked_stamps["order"] = ["17", "18"]
    first.keep()
    first.keep()
    assert lines(tmp_path) == ["a", "b", ["order", "17"], ["order", "18"]]
    forget()
    revokes().read()
    assert list(state.revoked) == ["a", "b"]
    assert state.revoked_stamps == {"order": ["17", "18"]}


def test_what_was_revoked_while_a_successor_started_is_not_forgotten(revokes):
    first, second = revokes(), revokes()
    second.read()
    state.revoked.add("a")
    first.keep()
    forget()
    second.read()
    assert "a" in state.revoked


def test_another_program_of_the_host_knows_it_too(revokes):
    state.revoked.add("a")
    revokes("celery-mail").keep()
    forget()
    revokes("celery").read()
    assert "a" in state.revoked


def test_as_many_are_kept_as_celery_keeps(revokes, tmp_path, monkeypatch):
    state.revoked.update([f"old{number}" for number in range(5)])
    revokes().keep()
    forget()
    monkeypatch.setattr(state.revoked, "maxlen", 3)
    revokes().read()
    assert lines(tmp_path) == ["old2", "old3", "old4"]


def test_a_line_that_was_cut_off_is_left_out(revokes, tmp_path):
    state.revoked.add("a")
    revokes().keep()
    with (tmp_path / "revokes/celery").open("a") as file:
        file.write('"b')
    forget()
    revokes().read()
    assert list(state.revoked) == ["a"]
    assert lines(tmp_path) == ["a"]


def test_a_folder_that_cannot_be_written_to_is_said_once(revokes, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("celery_on_hosts.revokes.logger.warning", lambda text, *values: said.append(text % values))
    (tmp_path / "revokes").write_text("a file")
    revoked = revokes()
    revoked.read()
    state.revoked.add("a")
    revoked.keep()
    (message,) = said
    assert "a restart forgets revoked tasks" in message


@pytest.mark.parametrize("handover", [True, False])
def test_a_task_that_was_revoked_before_a_restart_does_not_run(
    platform, app_dir, tmp_path, server, redis, monkeypatch, handover
):
    platform(broker="redis", queues=["celery"], queue_arguments={}, lone_worker=True)
    for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
        monkeypatch.setenv(name, server.url)
    monkeypatch.setenv("CELERY_STATE_DIR", str(tmp_path))
    folder = app_dir(tasks=TASKS)
    app = Celery("tasks", set_as_current=False)

    def begin():
        worker = start(folder, "worker", "-P", "solo", "-n", "celery@here", program="celery")
        wait_for(tmp_path / "celery.json", lambda report: report["connected"] and report["pid"] == worker.pid, worker)
        return worker

    first = second = begin()
    try:
        replies = app.control.revoke("revoked", reply=True, timeout=5)
        assert replies, "the worker did not answer"
        if handover:
            second = begin()
        first.terminate()
        first.wait(20)
        if not handover:
            second = begin()
        assert app.control.inspect(timeout=5).revoked() == {"celery@here": ["revoked"]}
        for task_id in ("revoked", "meant"):  # in this order, one at a time
            app.send_task("tasks.add", (40, 2), task_id=task_id)
        deadline = time.monotonic() + 20
        while app.backend.get_state("meant") != "SUCCESS" and time.monotonic() < deadline:
            time.sleep(0.05)
        assert [app.backend.get_state(task_id) for task_id in ("revoked", "meant")] == ["REVOKED", "SUCCESS"]
    finally:
        for worker in (first, second):
            worker.kill()
            worker.wait()
