"""What weakens the platform's promise, as the check of an application reports it.

The controller knows the names from here too: ``celery_accept`` takes them. Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# What celery_accept takes, and what each name stands for.
NAMES: Mapping[str, str] = {
    "accept_content": "a serializer with which a message can run any code is accepted",
    "acks_late": "tasks that are acknowledged before they run",
    "beat_schedule": "an entry of the schedule whose task the application does not define",
    "beat_scheduler": "a package that keeps a schedule, which beat does not run",
    "broker_connection_retry": "a worker that stops when the broker is away",
    "calls": "a task whose own code fails when the task is sent without arguments",
    "confirm_publish": "messages that RabbitMQ does not confirm",
    "exchanges": "a queue with a direct exchange on RabbitMQ",
    "reject_on_worker_lost": "tasks that are lost when their process dies",
    "result_backend": "an address of a result store that was taken for a developer's",
    "result_accept_content": "a serializer with which a result can run any code is accepted",
    "storage": "a Redis elsewhere that does not keep its data as the promise needs it",
    "task_acks_late": "all tasks are acknowledged before they run",
    "task_acks_on_failure": "tasks that fail are dead-lettered",
    "task_acks_on_timeout": "tasks that exceed their time limit run again",
    "task_create_missing_queues": "queues that nobody reads are made by a spelling mistake",
    "task_default_delivery_mode": "messages that RabbitMQ does not write to disk",
    "task_protocol": "messages without headers",
    "task_publish_retry": "a publish that is not tried again",
    "task_queues": "queues that are no quorum queues on RabbitMQ",
    "task_reject_on_worker_lost": "all tasks are lost when their process dies",
    "task_routes": "a router that decides by a task's arguments, so that its queues are not checked",
    "time_limits": "time limits of tasks, settings and workers that contradict each other",
    "versions": "a part of the runtime that does not work with the application's version of Celery",
    "visibility_timeout": "on Redis, tasks that are delivered again too late or too early",
    "writes": "a file that the application writes, below the release, which cannot be written",
    "worker_enable_remote_control": "workers that do not answer inspect and status",
    "worker_prefetch_multiplier": "a worker that claims all waiting tasks",
}


@dataclass(frozen=True)
class Weakness:
    """One thing that weakens the promise.

    Args:
        name: one of ``NAMES``; empty for one that cannot be accepted.
        found: the setting and its value.
        consequence: what follows.
        remedy: what to do, as a sentence.
        once: it is about the step to this release, and not worth to be repeated when nothing changes.
    """

    name: str
    found: str
    consequence: str = ""
    remedy: str = ""
    once: bool = False

    def __post_init__(self) -> None:
        if self.name and self.name not in NAMES:
            raise ValueError(f"{self.name!r} is not among weaknesses.NAMES")

    def __str__(self) -> str:
        said = f"{self.found}: {self.consequence}." if self.consequence else self.found
        return f"{said} {self.remedy}".rstrip()
