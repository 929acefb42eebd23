"""Workers in threads of another process, as Celery's own pytest fixtures start them in an application's tests."""

from __future__ import annotations

TESTS = """
import gc, os
import pytest
from celery.contrib.testing.worker import start_worker

pytest_plugins = ["celery.contrib.pytest"]
open_sockets = []

@pytest.fixture(scope="session")
def celery_config():
    return {"broker_url": os.environ["CELERY_BROKER_URL"], "result_backend": os.environ["CELERY_RESULT_BACKEND"]}

@pytest.fixture(scope="session")
def celery_worker_parameters():
    return {"perform_ping_check": False}

def add(x, y):
    return x + y

def sockets():
    gc.collect()
    links = (f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd"))
    return sum(os.path.exists(link) and os.readlink(link).startswith("socket:") for link in links)

def test_a_worker_in_a_thread_does_not_report_as_the_program(celery_app, monkeypatch):
    # Workers of other apps come after it in this process.
    monkeypatch.setenv("CELERY_PROGRAM", "web")
    task = celery_app.task(add, shared=False)
    with start_worker(celery_app, perform_ping_check=False):
        assert task.delay(2, 3).get(timeout=30) == 5
        assert not os.path.exists(os.environ["CELERY_RUN_DIR"] + "/web.json")

@pytest.mark.parametrize("turn", range(4))
def test_a_worker_of_one_test(turn, celery_app, celery_worker):
    task = celery_app.task(add, shared=False)
    celery_worker.reload()
    assert task.delay(2, 3).get(timeout=30) == 5
    open_sockets.append(sockets())

def test_it_is_closed():
    # Each worker has four sockets or more, of which Celery before 5.4 leaves two open, by itself too. One more or less
    # may be open just then.
    assert open_sockets[3] < open_sockets[1] + 6, open_sockets
    assert gc.get_freeze_count() == 0

def test_a_worker_with_threads(celery_app):
    task = celery_app.task(add, shared=False)
    with start_worker(celery_app, pool="threads", perform_ping_check=False):
        assert task.delay(2, 3).get(timeout=30) == 5

# The last, because its worker stays, and Celery's fixtures stop all workers of a process at once.
def test_a_worker_of_all_tests(celery_session_app, celery_session_worker):
    task = celery_session_app.task(add, shared=False)
    celery_session_worker.reload()
    assert task.delay(2, 3).get(timeout=30) == 5
"""


def test_fixtures_of_celery_start_a_worker_and_stop_it(platform, app_dir, python, server, redis, monkeypatch):
    platform(broker="redis", queues=["celery"], queue_arguments={})
    for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
        monkeypatch.setenv(name, server.url)
    folder = app_dir(test_tasks=TESTS)
    done = python(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_tasks.py")
    assert done.returncode == 0, done.stdout + done.stderr
