"""A message that is delivered again does not run twice, and a deadly task is told from its neighbours."""

from __future__ import annotations

import json
import logging
import os
from types import SimpleNamespace
from typing import Any

import pytest
from billiard.einfo import ExceptionInfo
from billiard.exceptions import WorkerLostError
from celery import Celery
from celery.worker import request as requests
from celery.worker import state

from celery_on_hosts import redelivery
from celery_on_hosts.redelivery import Strikes, name_of


@pytest.fixture
def strikes(tmp_path, monkeypatch) -> Strikes:
    monkeypatch.setenv("CELERY_RUN_DIR", str(tmp_path))
    strikes = Strikes("celery", 3)
    strikes.read()
    return strikes


def died_again(strikes: Strikes) -> Strikes:
    """Return what the next worker knows."""
    after = Strikes("celery", strikes.limit)
    after.read()
    return after


def test_what_ran_when_the_worker_died_is_counted(strikes):
    strikes.begins(task_id="done")
    strikes.ends(task_id="done")
    strikes.begins(task_id="a/../b")
    after = died_again(strikes)
    assert after.counts.keys() == {name_of("a/../b")}
    assert after.of(name_of("a/../b")) == 1
    after.begins(task_id="a/../b")
    assert died_again(after).of(name_of("a/../b")) == 2
    assert died_again(after).of(name_of("a/../b")) == 2, "the task did not run when this worker died"


def test_what_a_predecessor_still_runs_is_not_counted(strikes):
    predecessor = Strikes("celery", 3)
    predecessor.running = strikes.program / str(os.getppid())  # a process that lives
    predecessor.running.mkdir()
    predecessor.begins(task_id="long")
    assert not died_again(strikes).counts
    predecessor.stopped()
    assert not predecessor.running.exists()


def test_a_worker_that_stops_leaves_nothing(strikes):
    strikes.begins(task_id="killed by its time limit")
    strikes.stopped()
    assert not died_again(strikes).counts


def test_strikes_are_forgotten_after_a_day(strikes):
    strikes.begins(task_id="old")
    after = died_again(strikes)
    after.counts["old"] = (1, after.counts["old"][1] - redelivery.KEPT_SECONDS - 1)
    after.write()
    assert not died_again(after).counts


class Request:
    """Celery keeps weak references to these."""

    def __init__(self, id: str) -> None:
        self.id = id


class Worker:
    """Receives messages by the strategy, and records what Celery's own strategy would do with them."""

    def __init__(self, strikes: Strikes, monkeypatch: pytest.MonkeyPatch) -> None:
        self.requests: list[Request] = []
        self.handled: list[str] = []
        self.rejected: list[str] = []
        self.acknowledged: list[str] = []
        self.ends: dict[str, Any] = {}
        self.waiting: list[Any] = []
        monkeypatch.setattr(redelivery.strategy, "default", lambda *_, **__: self.handle)
        app = Celery(set_as_current=False)
        app.strikes = strikes
        timer = SimpleNamespace(call_after=lambda _, again, arguments: self.waiting.append((again, arguments)))
        self.receive = redelivery.receive(None, app, SimpleNamespace(timer=timer, connection_errors=(), pool=self))

    def handle(self, message: Any, body: Any, end: Any, *_: Any) -> None:
        self.ends[message.headers["id"]] = message, end
        self.handled.append(message.headers["id"])
        request = Request(message.headers["id"])
        self.requests.append(request)
        state.active_requests.add(request)

    def deliver(self, name: str, redelivered: bool = True) -> None:
        message = SimpleNamespace(headers={"id": name}, delivery_info={"redelivered": redelivered})

        def reject(logger: logging.Logger, errors: Any, requeue: bool) -> None:
            assert not requeue
            self.rejected.append(name)

        self.receive(message, None, lambda *_: self.acknowledged.append(name), reject, None)

    def half_a_second_later(self) -> None:
        waiting, self.waiting = self.waiting, []
        for again, arguments in waiting:
            again(*arguments)


@pytest.fixture
def worker(strikes, monkeypatch):
    worker = Worker(strikes, monkeypatch)
    yield worker
    state.active_requests.clear()


def test_with_so_many_strikes_it_is_dead_lettered_and_the_others_run(strikes, worker):
    strikes.counts = {"poison": (3, 0.0)}
    for name in ("poison", "innocent"):
        worker.deliver(name)
    assert (worker.handled, worker.rejected) == (["innocent"], ["poison"])


def test_of_those_that_were_struck_one_runs_at_a_time(strikes, worker):
    strikes.counts = {"beside": (1, 0.0), "poison": (1, 0.0)}
    for name in ("beside", "poison", "innocent"):
        worker.deliver(name)
    assert worker.handled == ["beside", "innocent"]
    worker.half_a_second_later()
    assert worker.handled == ["beside", "innocent"]
    state.active_requests.clear()  # they end
    worker.half_a_second_later()
    assert worker.handled == ["beside", "innocent", "poison"]


def test_what_was_requeued_by_hand_begins_anew(strikes, worker):
    strikes.counts = {"poison": (3, 0.0)}
    worker.deliver("poison", redelivered=False)
    assert worker.handled == ["poison"]
    assert json.loads(strikes.path.read_text()) == {}


@pytest.mark.parametrize(("acknowledged", "runs"), [(False, ["long"]), (True, ["long", "long"])])
def test_what_ended_here_is_not_run_again_while_its_message_is_not_acknowledged(worker, acknowledged, runs):
    """After an acknowledged message, a message with the same id was sent anew, and another worker died with it."""
    worker.deliver("long", redelivered=False)
    worker.deliver("long")
    worker.half_a_second_later()
    assert (worker.handled, worker.acknowledged) == (["long"], []), "it still runs here"
    message, end = worker.ends["long"]
    end()
    worker.acknowledged.clear()
    message.acknowledged = acknowledged
    state.active_requests.clear()
    worker.half_a_second_later()
    assert (worker.handled, worker.acknowledged) == (runs, [] if acknowledged else ["long"])


def test_what_was_handed_to_a_child_counts_as_running(worker):
    worker._pool = SimpleNamespace(_cache={1: SimpleNamespace(correlation_id="handed")})
    worker.deliver("handed")
    assert worker.handled == []
    worker._pool._cache.clear()
    worker.half_a_second_later()
    assert worker.handled == ["handed"], "its child died"


@pytest.mark.parametrize(("requeued", "outcome"), [(True, ["requeued"]), (False, ["acknowledged"])])
def test_a_task_whose_child_was_killed_after_its_success_runs_again(requeued: bool, outcome: list[str]) -> None:
    """Its chord may not know of the success. Without reject_on_worker_lost Celery decides."""
    redelivery.install()
    app = Celery("test", broker="memory://", backend="cache+memory://", set_as_current=False)
    done: list[str] = []

    @app.task(acks_late=True, reject_on_worker_lost=requeued)
    def member() -> None:
        """Part of a chord."""

    message = SimpleNamespace(
        headers={"id": "a", "task": member.name, "root_id": "a"},
        body=((), {}, {}),
        properties={},
        delivery_info={},
        decode=lambda: ((), {}, {}),
        content_type=None,
        content_encoding=None,
    )
    request = requests.Request(
        message,
        app=app,
        task=member,
        decoded=True,
        on_ack=lambda *_: done.append("acknowledged"),
        on_reject=lambda *_: done.append("requeued"),
    )
    app.backend.mark_as_done("a", None)
    try:
        raise WorkerLostError("SIGKILL")
    except WorkerLostError:
        request.on_failure(ExceptionInfo())
    assert done == outcome
