from collections.abc import Iterator

import pytest
from celery.contrib.testing.worker import start_worker
from django.db import OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper
from kombu.exceptions import OperationalError as BrokerError

from tasks import app, service


@pytest.fixture(scope="module")  # it takes seconds to stop
def worker() -> Iterator[None]:
    """A worker in a thread of this process, on the broker in its memory."""
    app.control.purge()  # what earlier tests submitted
    with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=10):
        yield


@pytest.fixture
def database_down(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: BaseDatabaseWrapper) -> None:
        raise OperationalError('connection to "10.0.0.9" failed: password authentication failed for user "secret"')

    monkeypatch.setattr(BaseDatabaseWrapper, "ensure_connection", refuse)


@pytest.fixture
def broker_down(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise BrokerError("connection refused")

    monkeypatch.setattr("kombu.messaging.Producer.publish", refuse)
    monkeypatch.setattr("kombu.Connection.ensure_connection", refuse)


@pytest.fixture
def results_down(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise ConnectionError("redis://:secret@10.0.0.9 refused")

    monkeypatch.setattr(service.app.backend, "get_task_meta", refuse)
