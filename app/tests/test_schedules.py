"""Beat: entries from code and from the database, which the admin edits; and a task that does not overlap."""

import sqlite3
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import Mock

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import PeriodicTask, SolarSchedule
from django_celery_beat.schedulers import DatabaseScheduler
from live import Live, Local, until

from tasks import app
from tasks.examples.schedules import alone, by_the_clock, by_the_sun, each_few_seconds
from tasks.locks import lock


def scheduler() -> Any:
    """Beat's, as it is when beat starts."""
    app.control.purge()
    return DatabaseScheduler(app=app)


def sent() -> list[str]:
    """The names of the tasks at the broker."""
    with app.connection_for_read() as connection, connection.SimpleQueue("celery") as waiting:
        found = []
        while True:
            try:
                message = waiting.get(block=False)
            except waiting.Empty:
                return found
            message.ack()
            found.append(message.headers["task"])


@pytest.fixture
def admin(client: Client, db: None) -> Client:
    client.force_login(User.objects.create_superuser("admin", password="a long password"))  # noqa: S106
    return client


def test_the_admin_is_closed(client: Client, db: None) -> None:
    assert client.get("/admin/").status_code == 302
    client.force_login(User.objects.create_user("somebody"))
    assert client.get("/admin/django_celery_beat/periodictask/").status_code == 302


def test_the_admin_runs_no_script_but_its_files(admin: Client) -> None:
    each_few_seconds()
    for page in (
        "",
        "django_celery_beat/periodictask/",
        f"django_celery_beat/periodictask/{PeriodicTask.objects.get().pk}/change/",
    ):
        response = admin.get(f"/admin/{page}")
        assert response.status_code == 200
        assert "script-src 'self'" in response["Content-Security-Policy"]
        scripts = [part.partition(">") for part in response.content.decode().split("<script")[1:]]
        assert [text for head, _, text in scripts if "src=" not in head and "application/json" not in head] == []


def test_entries_from_code_are_written_to_the_database(db: None) -> None:
    scheduler()
    assert set(app.conf.beat_schedule) <= set(PeriodicTask.objects.values_list("name", flat=True))
    kinds = {row.name: type(row.scheduler).__name__ for row in PeriodicTask.objects.all()}
    assert (kinds["relay"], kinds["prune"], kinds["sunset"]) == ("IntervalSchedule", "CrontabSchedule", "SolarSchedule")


def test_an_entry_that_is_edited_in_the_admin_fires(admin: Client) -> None:
    each_few_seconds(60)
    beat = scheduler()
    PeriodicTask.objects.exclude(name="interval").update(enabled=False)
    beat.tick()
    assert sent() == []
    row = PeriodicTask.objects.get(name="interval")
    page = admin.get(f"/admin/django_celery_beat/periodictask/{row.pk}/change/")
    form = page.context["adminform"].form
    values = {name: value for name, value in form.initial.items() if value is not None and name in form.fields}
    values |= {"regtask": "", "task": "tasks.tick", "one_off": "", "args": '["edited"]'}
    values |= {"last_run_at_0": "", "expires_0": "", "expires_1": "", "start_time_0": "", "start_time_1": ""}
    values.pop("expires", None)
    done = admin.post(f"/admin/django_celery_beat/periodictask/{row.pk}/change/", values)
    assert done.status_code == 302, done.context["adminform"].form.errors
    due = timezone.now() - timedelta(minutes=2)
    PeriodicTask.objects.filter(pk=row.pk).update(last_run_at=due)
    assert beat.schedule["interval"].args == ["edited"]
    beat.tick()
    assert sent() == ["tasks.tick"]


def test_beat_goes_on_while_the_database_is_away(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    each_few_seconds(1)
    PeriodicTask.objects.filter(name="interval").update(last_run_at=timezone.now() - timedelta(minutes=2))
    beat = scheduler()
    PeriodicTask.objects.exclude(name="interval").update(enabled=False)
    assert beat.schedule["interval"]
    with monkeypatch.context() as patch:
        patch.setattr(BaseDatabaseWrapper, "ensure_connection", Mock(side_effect=OperationalError("it starts")))
        beat.tick()
        beat.tick()
    assert "tasks.tick" in sent()


def test_a_crontab_goes_by_the_clocks_of_its_zone(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime(2026, 7, 1, 12, 30, tzinfo=UTC)
    monkeypatch.setattr("django.utils.timezone.now", lambda: now)
    monkeypatch.setattr("celery.schedules.BaseSchedule.now", lambda _: now)
    for zone, hours in (("UTC", 20.5), ("Europe/Berlin", 18.5), ("Asia/Kolkata", 15)):
        due = datetime.fromisoformat(by_the_clock(minute="0", hour="9", zone=zone)["next"])  # type: ignore[arg-type]
        assert (due - now).total_seconds() == pytest.approx(hours * 3600, abs=2), zone


def test_the_sun_sets_once_a_day(db: None) -> None:
    due = datetime.fromisoformat(by_the_sun()["next"])
    assert timedelta(0) < due - timezone.now() < timedelta(hours=25)
    assert SolarSchedule.objects.get().event == "sunset"


def test_a_lock_has_one_holder_until_it_is_given_back_or_its_time_is_over(db: None) -> None:
    with lock("x", 60) as mine, lock("x", 60) as yours, lock("y", 60) as other:
        assert (mine, yours, other) == (True, False, True)
    with lock("x", 0) as mine, lock("x", 60) as later:
        assert (mine, later) == (True, True), "the first took too long"
    assert alone(0) == "done"


def test_two_at_the_same_time_do_not_overlap(live: Live) -> None:
    assert sorted(live.result("one_at_a_time", seconds=2)) == ["another one is at it", "done"]


@pytest.fixture
def beat(live: Live) -> Iterator[Local]:
    """The app on this machine, with beat."""
    if not isinstance(live, Local):
        pytest.skip("its database is on that machine alone")
    process = live.spawn("beat", sys.executable, "-m", "celery", "-A", "tasks", "beat", "-l", "INFO")
    yield live
    process.terminate()
    process.wait()


def test_beat_finds_a_new_entry_while_it_runs(beat: Local) -> None:
    def ticked(name: str) -> Any:
        with sqlite3.connect(beat.folder / "db.sqlite3", timeout=20) as database:
            return database.execute("SELECT at FROM tasks_tick WHERE name = ?", (name,)).fetchone()

    beat.result("each_few_seconds", seconds=1)
    until(lambda: ticked("interval"), "the entry's task ran")
