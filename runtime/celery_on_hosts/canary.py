"""A task that proves that a queue works: it travels through the queue, a worker and the result store."""

from __future__ import annotations

from typing import Any

from celery import Celery, current_task

from . import result_store
from .release import RELEASE

NAME = "celery_on_hosts.canary"


def canary(token: str) -> dict[str, str | None]:
    """Return the token, with the node that ran the task.

    Args:
        token: anything; it returns unchanged.
    """
    return {"token": token, "node": current_task.request.hostname, "release": RELEASE}


def register(app: Celery) -> None:
    """Make the canary a task of the application, whatever the application's defaults say.

    Its result is kept, or sent to whoever asks where the application keeps no results. A canary whose process dies does
    not run again: nobody would ask for its result, and it would be dead-lettered.
    """
    options: dict[str, Any] = {"name": NAME, "shared": False, "ignore_result": False, "lazy": not app.finalized}
    options |= {"acks_late": False, "reject_on_worker_lost": False}
    options["backend"] = property(result_store.for_canaries(app))  # options become attributes of the task's class
    app.task(**options)(canary)
