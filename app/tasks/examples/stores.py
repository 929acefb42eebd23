"""Where results are kept. One store is the app's, by `CELERY_RESULT_BACKEND`; a task may have another one.

| URL | |
|---|---|
| `redis://host/1` | fast, forgets after a day by itself, tells who waits at once |
| `rpc://` | a message to the caller, who gets it once; nobody else does. No chords |
| `django-db` | rows of Django's database, in the admin; `celery.backend_cleanup` deletes the old ones |
| `db+postgresql+psycopg://…` | the same by SQLAlchemy, without Django |
| `cache+memcached://host:11211/` | fast, and gone when it restarts or is full |
"""

import threading
from typing import Any, cast

from celery import Task
from celery.app.backends import by_url
from celery.backends.base import Backend
from celery.result import AsyncResult
from django.conf import settings

from ..celery import app
from ..registry import Number, example
from ..tasks import add

SECONDS = 25.0  # to wait for a result; a busy machine takes a while to load SQLAlchemy


class NotConfigured(Exception):
    """The environment names no such store."""


class KeptElsewhere(Task[Any, Any]):
    """A task whose results have a store of their own, `store` in the settings' `RESULT_STORES`."""

    store = ""
    local = threading.local()

    @property  # type: ignore[misc]  # nobody sets it
    def backend(self) -> Backend:
        """The store. Each thread has its own connection, as Celery has it for the app's."""
        known: dict[str, Backend] = vars(self.local)
        if self.store not in known:
            known[self.store] = self.connect()
        return known[self.store]

    def connect(self) -> Backend:
        """Return the store anew.

        Raises:
            NotConfigured: the environment names none.
        """
        if not (wanted := settings.RESULT_STORES[self.store]):
            raise NotConfigured(f"no result store of the kind {self.store} is configured")
        backend, url = cast("tuple[type[Backend], str]", by_url(wanted, self.app.loader))
        return backend(app=self.app, url=url)

    def apply_async(self, *args: Any, **options: Any) -> "AsyncResult[Any]":
        """Send the task, once its store knows who will ask: Celery tells the app's alone."""
        with self.app.producer_or_acquire() as producer:
            self.backend.on_task_call(producer, "")
        return super().apply_async(*args, **options)


@app.task(base=KeptElsewhere, store="rpc")
def add_by_rpc(x: float, y: float) -> float:
    """Add two numbers, and send the sum to the caller."""
    return x + y


@app.task(base=KeptElsewhere, store="django")
def add_in_django(x: float, y: float) -> float:
    """Add two numbers, and keep the sum in a row of Django's."""
    return x + y


@app.task(base=KeptElsewhere, store="sqlalchemy")
def add_in_sqlalchemy(x: float, y: float) -> float:
    """Add two numbers, and keep the sum in a row of SQLAlchemy's."""
    return x + y


@app.task(base=KeptElsewhere, store="memcached")
def add_in_memcached(x: float, y: float) -> float:
    """Add two numbers, and keep the sum in memcached."""
    return x + y


@app.task(ignore_result=True)
def clean_stores() -> None:
    """Delete the old rows of both. Beat sends it each night, and `celery.backend_cleanup` for the app's own store."""
    for task in (add_in_django, add_in_sqlalchemy):
        task.backend.cleanup()


def ask(task: "Task[Any, Any]", x: float, y: float) -> dict[str, Any]:
    """Run a task, and ask its store for the result, and again, and once more after it was told to forget."""
    result = task.delay(x, y)
    seen: dict[str, Any] = {
        "id": result.id,
        "store": type(task.backend).__name__,
        "result": result.get(timeout=SECONDS),
    }
    again = task.AsyncResult(result.id)
    seen |= {"asked again": again.state, "its result": again.result}
    try:
        again.forget()
        seen["after forget"] = task.AsyncResult(result.id).state
    except NotImplementedError as error:
        seen["after forget"] = str(error)
    return seen


@example(waits=True)
def store_of_the_app(x: Number = 2, y: Number = 3) -> dict[str, Any]:
    """The store that `CELERY_RESULT_BACKEND` names."""
    return ask(add, x, y)


@example(waits=True)
def store_rpc(x: Number = 2, y: Number = 3) -> dict[str, Any]:
    """`rpc://` sends the result to the caller, once; who asks again is told PENDING."""
    return ask(add_by_rpc, x, y)


@example(waits=True)
def store_django(x: Number = 2, y: Number = 3) -> dict[str, Any]:
    """`django-db` keeps a row, which the admin shows."""
    return ask(add_in_django, x, y)


@example(waits=True)
def store_sqlalchemy(x: Number = 2, y: Number = 3) -> dict[str, Any]:
    """`db+…` keeps a row by SQLAlchemy."""
    return ask(add_in_sqlalchemy, x, y)


@example(waits=True, raises=NotConfigured)
def store_memcached(x: Number = 2, y: Number = 3) -> dict[str, Any]:
    """`cache+memcached://` keeps it in memory, as long as there is room. Set `MEMCACHED_URL` to try it."""
    return ask(add_in_memcached, x, y)
