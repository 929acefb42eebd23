"""What is recorded of the tasks of a run, and what is made of it."""

import uuid
from typing import Any

import pytest
from celery import chain, chord, group
from django.db import Error as DatabaseError
from live import Live, succeeded

from tasks import add, app, fail, timeline, xsum
from tasks.models import Event, Run

SENT = ["sent", "received", "started", "succeeded"]


def kinds(live: Live, run: Any) -> dict[str, list[str]]:
    """Return what happened to each task of a run, by its call; the log is left out."""
    found: dict[str, list[str]] = {}
    for event in live.ask(f"/api/runs/{run['id']}/events")["events"]:
        if event["kind"] != "log":
            found.setdefault(event["task"] + event["task_id"], []).append(event["kind"])
    return found


def test_the_body_of_a_chord_belongs_to_the_run(live: Live) -> None:
    run = live.run("chord_of_adds", numbers=[1, 2])
    url = f"/api/runs/{run['id']}/events"
    found = live.reaches(url, lambda answer: [one["kind"] for one in answer["events"]].count("succeeded") == 3)
    assert sorted(one["task"] for one in found["events"] if one["kind"] == "sent") == [
        "tasks.add",
        "tasks.add",
        "tasks.xsum",
    ]
    assert {tuple(sorted(one)) for one in kinds(live, run).values()} == {tuple(sorted(SENT))}
    started = next(one for one in found["events"] if one["kind"] == "started")
    assert (started["queue"], bool(started["worker"])) == ("celery", True)


def test_retries_progress_and_log_lines_are_recorded(live: Live) -> None:
    run = live.run("progress", seconds=1)
    found = live.reaches(f"/api/runs/{run['id']}/events", lambda answer: "succeeded" in str(answer))["events"]
    progress = next(one for one in found if one["kind"] == "progress")
    assert progress["detail"] == {"state": "PROGRESS", "meta": {"current": 0, "total": 1}}
    lines = live.reaches(f"/api/runs/{run['id']}/events", lambda answer: '"log"' in str(answer).replace("'", '"'))
    assert "succeeded in" in str([one["detail"] for one in lines["events"] if one["kind"] == "log"])
    url = live.start("backoff", failures=1)
    live.reaches(f"{url}/events", succeeded)  # not the result's state, see `succeeded`
    (happened,) = kinds(live, live.ask(url)).values()
    assert happened.count("sent") == happened.count("started") == 2
    assert happened.count("retry") == 1


def test_a_task_that_ends_in_a_state_of_its_own_has_ended(live: Live) -> None:
    url = live.start("own_state")
    live.reaches(f"{url}/events", lambda answer: "IGNORED" in [one["detail"].get("state") for one in answer["events"]])


def test_an_unknown_run_has_no_events(live: Live) -> None:
    assert live.ask(f"/api/runs/{uuid.uuid4()}/events")["error"]["code"] == "not_found"


@pytest.mark.django_db
def test_only_runs_are_recorded() -> None:
    run = Run.objects.create(example="x")
    add.delay(1, 2)
    with timeline.recording(run.pk):
        result = add.delay(3, 4)
    add.delay(5, 6)
    assert [(event.task_id, event.kind) for event in Event.objects.all()] == [(result.id, "sent")]
    app.control.purge()


@pytest.mark.django_db
def test_a_secret_is_not_recorded() -> None:
    run = Run.objects.create(example="x")
    with timeline.recording(run.pk):
        add.apply_async(("hunter2", ""), argsrepr="(***)")
    assert "hunter2" not in str(Event.objects.get().detail)
    app.control.purge()


@pytest.mark.django_db
def test_what_is_recorded_is_bounded_and_every_database_takes_it() -> None:
    assert timeline.text("a\0b") == "a\N{REPLACEMENT CHARACTER}b"
    assert len(timeline.text("x" * 10**6)) == timeline.MAX_TEXT + 1


@pytest.mark.django_db
def test_progress_that_two_tasks_recorded_first_at_the_same_time_is_no_error() -> None:
    """The parts of a chord report the progress of the task that they work for."""
    run = Run.objects.create(example="x")
    about = {"id": str(uuid.uuid4()), "task": "tasks.report"}
    key = {"run": run, "task_id": about["id"], "kind": "progress"}
    for part in (1, 2):
        Event.objects.create(**key, task="tasks.report", time=run.created, detail={"meta": part})
    timeline._write("progress", {"run": str(run.pk)}, about, meta=3)
    assert {event.detail["meta"] for event in Event.objects.filter(**key)} == {3}


def test_a_task_does_not_depend_on_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise DatabaseError("away")

    monkeypatch.setattr("django.db.transaction.Atomic.__enter__", refuse)
    with timeline.recording(uuid.uuid4()):
        assert add.delay(1, 2).id
    app.control.purge()


def edges(sent: Any) -> set[tuple[str, str, str]]:
    """Send a canvas to nobody; return what its messages say of what follows what, by the tasks' ids."""
    run = Run.objects.create(example="x")
    with timeline.recording(run.pk):
        sent()
    found = [tuple(edge) for event in Event.objects.filter(run=run) for edge in event.detail["edges"]]
    app.control.purge()
    return {(before, after, kind) for before, after, _, kind in found}


@pytest.mark.django_db
def test_the_messages_of_a_chain_tell_all_of_it() -> None:
    ids = [str(uuid.uuid4()) for _ in range(3)]
    steps = [add.si(1, 1).set(task_id=task_id) for task_id in ids]
    assert edges(chain(*steps).delay) == {(ids[0], ids[1], "then"), (ids[1], ids[2], "then")}


@pytest.mark.django_db
def test_the_messages_of_a_nested_canvas_tell_all_of_it() -> None:
    ids = {name: str(uuid.uuid4()) for name in "abcd"}
    a, b, c = (add.si(1, 1).set(task_id=ids[name]) for name in "abc")
    d = xsum.s().set(task_id=ids["d"])
    expected = {(ids["a"], ids["b"], "then"), (ids["b"], ids["d"], "chord"), (ids["c"], ids["d"], "chord")}
    assert edges(chord([chain(a, b), c], d).delay) == expected
    a, b, c = (add.si(1, 1).set(task_id=ids[name]) for name in "abc")
    d = xsum.s().set(task_id=ids["d"])
    found = edges((a | group(b, c) | d).delay)
    assert found == {(ids["a"], ids[name], "then") for name in "bc"} | {(ids[name], ids["d"], "chord") for name in "bc"}


@pytest.mark.django_db
def test_error_callbacks_are_told_too() -> None:
    one, other = str(uuid.uuid4()), str(uuid.uuid4())
    send = fail.s().set(task_id=one, link_error=[add.si(1, 1).set(task_id=other)]).delay
    assert edges(send) == {(one, other, "error")}
