import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from celery.app.utils import find_app
from django.core.management import call_command
from django.utils import timezone
from unit_settings import BARE

import tasks
from tasks import add, app, count, crash, exhaust, fail, flaky, mul, prune, tick, xsum
from tasks.models import Submission, Tick

APP = Path(__file__).resolve().parent.parent


def test_sums() -> None:
    assert add(2, 3) == 5
    assert mul(6, 7) == 42
    assert xsum([1, 2, 3.5]) == 6.5
    assert xsum([]) == 0


def test_names_are_those_of_the_guides() -> None:
    for task in (add, count, crash, exhaust, fail, flaky, mul, prune, tick, xsum):
        assert task.name == f"tasks.{task.__name__}"
        assert app.tasks[task.name] is not None


def test_dash_a_finds_the_app() -> None:
    assert find_app("tasks") is tasks.app


def test_count_reports_each_second(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr(count, "update_state", lambda **report: seen.append(report))
    assert count(3) == 3
    assert seen == [{"state": "PROGRESS", "meta": {"current": n, "total": 3}} for n in range(3)]


def test_fail_fails() -> None:
    with pytest.raises(RuntimeError, match="because"):
        fail("because")


def test_flaky_is_retried_until_it_succeeds() -> None:
    assert flaky.apply((2,)).get() == 3


def test_flaky_gives_up() -> None:
    with pytest.raises(ConnectionError, match="attempt 6"):
        flaky.apply((99,)).get()


@pytest.mark.django_db
def test_tick_keeps_one_row() -> None:
    first = tick()
    assert tick() >= first
    assert Tick.objects.count() == 1


@pytest.mark.django_db
def test_prune_forgets_only_the_old() -> None:
    Submission.objects.create(task="tasks.add")
    Submission.objects.create(task="tasks.add", created=timezone.now() - timedelta(days=2))
    assert prune() == 1
    assert Submission.objects.count() == 1


def test_beat_sends_only_tasks_that_exist() -> None:
    app.loader.import_default_modules()
    assert (
        {entry["task"] for entry in app.conf.beat_schedule.values()}
        == {"tasks.tick", "tasks.prune", "tasks.relay", "tasks.clean_up", "tasks.clean_stores"}
        <= set(app.tasks)
    )


@pytest.mark.parametrize("settings_module", [None, "tasks.settings"])
def test_plain_python_can_send_a_task(settings_module: str | None) -> None:
    env = {**BARE, "CELERY_BROKER_URL": "memory://", "CELERY_RESULT_BACKEND": "cache+memory://"}
    if settings_module:
        env["DJANGO_SETTINGS_MODULE"] = settings_module
    code = "from tasks import add; print(add.delay(2, 3).status)"
    done = subprocess.run([sys.executable, "-c", code], cwd=APP, env=env, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("PENDING\n", "")


@pytest.mark.django_db
def test_migrations_are_complete() -> None:
    call_command("makemigrations", check=True, dry_run=True)
