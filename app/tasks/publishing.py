"""Hand a task to the broker, and hear within seconds whether it took it."""

from typing import Any
from uuid import UUID

from celery.result import denied_join_result

from .celery import app
from .timeouts import ANSWER, RETRY_POLICY


def publish(task: str, args: list[Any], kwargs: dict[str, Any], task_id: UUID) -> None:
    """Publish a task, and return once the broker has confirmed it.

    Raises:
        Exception: the broker refused or did not confirm in time; each transport has its own errors. The task may run
            nevertheless.
    """
    with denied_join_result():  # nobody waits here: without this, each task subscribes this process to its result
        app.send_task(
            task,
            args,
            kwargs,
            task_id=str(task_id),
            retry=True,
            retry_policy=RETRY_POLICY,
            confirm_timeout=ANSWER,  # kombu's
        )
