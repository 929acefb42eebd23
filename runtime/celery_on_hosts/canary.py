"""A task that proves a queue works: it goes round through the queue, a worker and the result store."""

from __future__ import annotations

from typing import Any

from celery import Celery, current_task

from .release import RELEASE

NAME = "celery_on_hosts.canary"


def canary(token: str) -> dict[str, str | None]:
    """Return the token, with who ran it.

    Args:
        token: anything; it comes back unchanged.
    """
    return {"token": token, "node": current_task.request.hostname, "release": RELEASE}


def register(app: Celery) -> None:
    """Make the canary a task of the application, whatever the application's defaults say.

    Its result is kept. One whose process dies does not run again: nobody would ask for it, and it would be parked.
    """
    options: dict[str, Any] = {"name": NAME, "shared": False, "ignore_result": False, "lazy": not app.finalized}
    options |= {"acks_late": False, "reject_on_worker_lost": False}
    app.task(**options)(canary)
