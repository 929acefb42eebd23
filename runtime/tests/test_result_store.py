"""An application's own result store is used, unless it is a developer's, or the inventory has decided."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from celery_on_hosts.check import results
from celery_on_hosts.check.report import Report
from celery_on_hosts.result_store import is_replaced

PLATFORMS = "redis://celery:secret@broker.example:6379/1"


def make(**options: Any) -> Celery:
    app = Celery("x", set_as_current=False, **options)
    assert app.loader
    return app


@pytest.fixture
def undecided(platform, monkeypatch):
    """The environment of a host whose inventory has not decided."""
    platform()
    monkeypatch.setenv("CELERY_RESULT_BACKEND", PLATFORMS)
    monkeypatch.setenv("CELERY_PLATFORM_RESULTS", PLATFORMS)


REPLACED = [
    *(None, "", "redis", "redis://", "redis://localhost", "redis://localhost:6379/0", "redis://:pw@127.0.0.1:6379/2"),
    *("redis://[::1]/0", "redis://redis:6379/0", "rediss://cache", "redis://host.docker.internal/1"),
    *("redis+socket:///tmp/redis.sock", "cache+memory://", "db+sqlite:///results.sqlite3"),
]
OWN = [
    *("django-db", "django-cache", "rpc", "rpc://", "disabled", "disabled://", "db+postgresql://u:p@localhost/results"),
    *("db+sqlite:////var/lib/celery/results.sqlite3", "cache+memcached://127.0.0.1:11211/", "s3", "mongodb://db/0"),
    *("redis://cache.example.com/3", "rediss://192.0.2.7:6380/0", "shop.stores:Store", "file:///srv/results"),
]


@pytest.mark.parametrize("store", REPLACED)
def test_a_developers_store_is_replaced(undecided, store):
    assert make(backend=store).conf.result_backend == PLATFORMS


@pytest.mark.parametrize("store", OWN)
def test_a_store_that_somebody_chose_is_used(undecided, store):
    assert make(backend=store).conf.result_backend == store


@pytest.mark.parametrize(("store", "used"), [("rpc://", "rpc://"), ("redis://localhost", "redis://broker.example")])
def test_a_process_that_asks_for_a_result_first(undecided, app_dir, python, store, used):
    """Celery reads the environment before it makes the loader."""
    text = f"from celery import Celery\napp = Celery('tasks', backend='{store}')\n"
    code = "from tasks import app; print(app.AsyncResult('a').backend.as_uri())"
    done = python(app_dir(tasks=text), "-c", code)
    assert done.stdout.startswith(used.replace("//b", "//celery:**@b")), done.stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "broker.example"])
def test_an_application_that_names_the_platforms_store_itself(undecided, app_dir, python, monkeypatch, host):
    """As `CELERY_RESULT_BACKEND = os.environ["CELERY_RESULT_BACKEND"]` in Django's settings, on any host."""
    url = PLATFORMS.replace("broker.example", host)
    for variable in ("CELERY_RESULT_BACKEND", "CELERY_PLATFORM_RESULTS"):
        monkeypatch.setenv(variable, url)
    text = "import os\nfrom celery import Celery\napp = Celery('tasks', backend=os.environ['CELERY_RESULT_BACKEND'])\n"
    done = python(app_dir(tasks=text), "-c", "from tasks import app; print(app.AsyncResult('a').backend.as_uri())")
    assert done.stdout == f"redis://celery:**@{host}:6379/1\n", done.stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "broker.example"])
def test_an_application_adds_options_to_the_platforms_store(undecided, monkeypatch, host):
    url = PLATFORMS.replace("broker.example", host)
    for variable in ("CELERY_RESULT_BACKEND", "CELERY_PLATFORM_RESULTS"):
        monkeypatch.setenv(variable, url)
    app = make()
    app.conf.result_backend = f"{url}?socket_timeout=7"
    assert app.conf.result_backend == f"{url}?socket_timeout=7"
    assert app.backend.connparams["socket_timeout"] == 7
    assert app.backend.connparams["password"] == "secret"


DJANGO = """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "web_settings"
from celery import Celery
app = Celery("web", backend="django-db")
"""
DJANGO_SETTINGS = """
USE_TZ = True
INSTALLED_APPS = ["django_celery_results"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
"""


def test_health_sends_a_canary_whose_result_is_a_row_of_django(undecided, app_dir, python):
    """Celery sets Django up in a worker, and not where an application is only found."""
    pytest.importorskip("django_celery_results", reason="the lock with the oldest Celery has no store of Django's")
    code = (
        "from celery_on_hosts.health.inspector import Inspector; from celery_on_hosts.platform_file import Platform; "
    )
    code += "print(type(Inspector(Platform.load())._load_app().backend).__module__)"
    done = python(app_dir(web=DJANGO, web_settings=DJANGO_SETTINGS), "-c", code, CELERY_APP="web")
    assert done.stdout == "django_celery_results.backends.database\n", done.stderr


def test_a_class_is_used():
    assert not is_replaced(dict)


def keyword() -> Celery:
    return make(backend="rpc://")


def setting() -> Celery:
    app = make()
    app.conf.result_backend = "rpc://"
    return app


def late() -> Celery:
    app = make()
    assert app.conf.result_backend == PLATFORMS
    app.conf.update(result_backend="rpc://")
    return app


def old_name() -> Celery:
    app = make()
    app.config_from_object({"CELERY_RESULT_BACKEND": "rpc://"})
    return app


def namespace() -> Celery:
    app = make()
    app.config_from_object({"SHOP_RESULT_BACKEND": "rpc://"}, namespace="SHOP")
    return app


@pytest.mark.parametrize("configure", [keyword, setting, late, old_name, namespace])
def test_each_way_to_name_a_store(undecided, configure):
    app = configure()
    assert app.conf.result_backend == "rpc://"
    assert app.backend.as_uri() == "rpc://"


@pytest.mark.parametrize(("given", "used"), [(PLATFORMS, PLATFORMS), ("rpc://", "rpc://"), (None, "django-db")])
def test_the_inventory_decides(platform, monkeypatch, given, used):
    """The platform's store, a named one, or the application's whatever it is."""
    platform()
    monkeypatch.delenv("CELERY_PLATFORM_RESULTS", raising=False)
    monkeypatch.delenv("CELERY_RESULT_BACKEND")
    if given:
        monkeypatch.setenv("CELERY_RESULT_BACKEND", given)
    assert make(backend="django-db").conf.result_backend == used


def test_a_caller_decides(undecided, monkeypatch):
    """`celery --result-backend` sets the variable."""
    monkeypatch.setenv("CELERY_RESULT_BACKEND", "redis://elsewhere/0")
    assert make(backend="django-db").conf.result_backend == "redis://elsewhere/0"


CACHE = "redis://cache:secret@192.0.2.7:6380/0"


@pytest.mark.parametrize("store", [CACHE, "redis://192.0.2.7:6380/3"])
def test_results_are_not_kept_in_the_cache(undecided, monkeypatch, store):
    """An application with one address of Redis for everything names the cache as its result store too."""
    assert make(backend=store).conf.result_backend == store
    monkeypatch.setenv("CACHE_URL", CACHE)
    assert make(backend=store).conf.result_backend == PLATFORMS
    for other in ("redis://192.0.2.7:6379/0", "redis://192.0.2.8:6380/0", "django-db"):
        assert make(backend=other).conf.result_backend == other


def test_an_inventory_that_keeps_results_in_the_cache_is_refused(platform, monkeypatch):
    platform()
    monkeypatch.delenv("CELERY_RESULT_BACKEND")
    monkeypatch.setenv("CACHE_URL", CACHE)
    report = Report("x")
    assert not results.check(make(backend=CACHE), report)
    assert "the platform's cache, which drops results" in report.errors[0]
    assert "secret" not in report.errors[0]
