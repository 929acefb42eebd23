"""Result stores: each is selected by its URL; what it can do, and what it cannot."""

import subprocess
import sys
import threading
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.result import GroupResult
from live import MEMCACHED, Live, Local
from unit_settings import BARE

from tasks import app
from tasks.examples.stores import KeptElsewhere, add_in_django, add_in_sqlalchemy, clean_stores

APP = Path(__file__).resolve().parent.parent
MISSING = str(uuid.uuid4())
KEEPS = {"result": 5, "asked again": "SUCCESS", "its result": 5, "after forget": "PENDING"}
# Seen by another process; chords and saved groups; forgets by itself after a while, without backend_cleanup.
CAN = {
    "redis": (True, True, True),
    "rpc": (False, False, True),
    "django": (True, True, False),
    "sqlalchemy": (True, True, False),
    "memcached": (True, True, True),
}


@pytest.fixture(params=CAN)
def store(request: pytest.FixtureRequest, live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store's kind; the environment has its URL."""
    if not isinstance(live, Local):
        pytest.skip("its stores are on that machine alone")
    if request.param == "memcached" and not MEMCACHED:
        pytest.skip("there is no memcached")
    if request.param == "django":
        request.getfixturevalue("db")
    urls = {
        "redis": f"redis://127.0.0.1:{live.redis_port}/3",
        "rpc": "rpc://",
        "django": "django-db",
        "sqlalchemy": f"db+sqlite:///{tmp_path}/results.sqlite3",
        "memcached": live.environment.get("MEMCACHED_URL", ""),
    }
    monkeypatch.setenv("CELERY_RESULT_BACKEND", urls[request.param])
    return str(request.param)


def process() -> Any:
    """An app as one process has it."""
    return Celery("stores", broker="memory://", set_as_current=False, fixups=[])


def test_what_a_store_can_do(store: str) -> None:
    seen, chords, expires = CAN[store]
    worker, other = process(), process().backend
    task_id = str(uuid.uuid4())
    if seen:
        worker.backend.store_result(task_id, {"current": 1}, "PROGRESS")
        assert other.get_state(task_id) == "PROGRESS"
        worker.backend.store_result(task_id, {"sum": 5}, "SUCCESS")
        assert other.get_result(task_id) == {"sum": 5}
        other.forget(task_id)
    assert other.get_state(task_id) == "PENDING"
    if chords:
        worker.backend.ensure_chords_allowed()
        GroupResult(task_id, [], app=worker).save()
        assert GroupResult.restore(task_id, app=worker).id == task_id
    else:
        with pytest.raises(NotImplementedError, match="does not support chords"):
            worker.backend.ensure_chords_allowed()
        with pytest.raises(NotImplementedError):
            GroupResult(task_id, [], app=worker).save()
    assert worker.backend.supports_autoexpire == expires


def test_the_store_of_the_app(live: Live) -> None:
    assert live.result("store_of_the_app").items() >= KEEPS.items()


def test_rpc_answers_the_caller_once(live: Live) -> None:
    seen = live.result("store_rpc", x=4)
    assert (seen["result"], seen["asked again"], seen["its result"]) == (7, "PENDING", None)
    assert live.ask(f"/api/tasks/{seen['id']}")["state"] == "PENDING", "nor does anybody else see it"


@pytest.mark.parametrize("example", ["store_django", "store_sqlalchemy"])
def test_a_store_of_rows(live: Live, example: str) -> None:
    assert live.result(example).items() >= {**KEEPS, "store": "DatabaseBackend"}.items()


def test_memcached(live: Live) -> None:
    run = live.run("store_memcached")
    if "NotConfigured" in str(run["error"]):
        pytest.skip("no memcached there")
    assert run["result"].items() >= {**KEEPS, "store": "CacheBackend"}.items()


@pytest.mark.django_db
def test_rows_are_deleted_by_the_cleanup(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.RESULT_STORES = {**settings.RESULT_STORES, "sqlalchemy": f"db+sqlite:///{tmp_path}/results.sqlite3"}
    monkeypatch.setattr(KeptElsewhere, "local", threading.local())
    stores = add_in_django.backend, add_in_sqlalchemy.backend
    for store in stores:
        store.store_result(MISSING, 5, "SUCCESS")
    clean_stores()
    assert [store.get_result(MISSING) for store in stores] == [5, 5], "they are of today"
    for store in stores:
        store.expires = timedelta(seconds=-1)
    clean_stores()
    assert [store.get_state(MISSING) for store in stores] == ["PENDING", "PENDING"]
    assert app.tasks["celery.backend_cleanup"], "which does so for the store of the app"


@pytest.mark.parametrize(
    ("database", "url"),
    [
        ("postgresql://u:p%40@db/n", "db+postgresql+psycopg://u:p%40@db/n"),
        ("postgres://u@db/n?sslmode=require", "db+postgresql+psycopg://u@db/n?sslmode=require"),
        ("sqlite:////srv/db.sqlite3", "db+sqlite:////srv/db.sqlite3"),
    ],
)
def test_sqlalchemy_has_the_same_database(database: str, url: str) -> None:
    code = "from tasks import settings; print(settings.RESULT_STORES['sqlalchemy'])"
    env = {**BARE, "DATABASE_URL": database}
    assert subprocess.check_output([sys.executable, "-c", code], cwd=APP, env=env, text=True).strip() == url


def test_a_url_that_names_no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_RESULT_BACKEND", "nowhere://host")
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        process().backend.get_state(MISSING)
