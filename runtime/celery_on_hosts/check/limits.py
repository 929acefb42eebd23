"""Compare the time limits of the application's settings and tasks with those of the workers."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from celery import Celery

from ..platform_file import Platform, Reader
from .report import Report, first_few, is_builtin

NAME = "time_limits"  # in celery_accept
TASK = "task "  # begins the name of a task among those that use a queue

Limit = tuple[str, str, str]


def check(app: Celery, platform: Platform, report: Report) -> None:
    """Report limits that what waits for a task, or kills it, does not know of.

    Args:
        app: the imported application.
        platform: what it is to run on.
        report: with the queues of tasks, which ``queues`` has found.
    """
    readers = platform.readers or _of_an_older_deployment(platform)
    queues = {
        user.removeprefix(TASK): queue
        for queue, users in report.routes.items()
        for user in users
        if user.startswith(TASK)
    }
    found: dict[Limit, set[str]] = defaultdict(set)
    for name, task in app.tasks.items():
        if not is_builtin(name):
            reading = [reader for reader in readers if queues.get(name) in (None, *reader.queues)]
            if (limit := _of_task(app, task, reading)) is not None:
                found[limit].add(name)
    for (text, consequence, remedy), names in sorted(found.items()):
        report.warn(NAME, f"task {first_few(names)} {text}", consequence, remedy)
    _check_workers(app, readers, report)


def _of_an_older_deployment(platform: Platform) -> tuple[Reader, ...]:
    """Return one worker for all queues, where ``platform.json`` does not name the workers."""
    longest = platform.max_time_limit_s
    return (Reader("celery", platform.queues, longest, longest),) if longest else ()


def _of_task(app: Celery, task: Any, readers: list[Reader]) -> Limit | None:
    """Return what is wrong with a task's limits: what was found, what follows, what to do."""
    hard, soft = task.time_limit or app.conf.task_time_limit, task.soft_time_limit or app.conf.task_soft_time_limit
    if not readers:
        return None
    hasty = min(readers, key=lambda reader: reader.stop_wait)
    if hard and hard > hasty.stop_wait:
        where = "the application's task_time_limit" if hard == app.conf.task_time_limit else "its time_limit"
        return (
            f"may run {hard:g} s by {where}, but a stop of the worker {hasty.program} waits for {hasty.stop_wait:g} s "
            "only",
            "then the task is killed and runs again",
            f"Lower the limit, or give the worker time_limit: {hard:g} in celery_workers, which raises its stop wait.",
        )
    limits = [reader for reader in readers if reader.time_limit]
    strict = min(limits, key=lambda reader: reader.time_limit or 0) if limits else None
    if strict and strict.time_limit and soft and not hard and soft > strict.time_limit:
        return (
            f"has a soft_time_limit of {soft:g} s, but the time limit of the worker {strict.program} is "
            f"{strict.time_limit:g} s",
            "the task is killed before its soft limit",
            "Lower the soft_time_limit, give the task a time_limit, or raise the worker's time_limit in celery_workers "
            "(celery_time_limit for all workers).",
        )
    return None


def _check_workers(app: Celery, readers: tuple[Reader, ...], report: Report) -> None:
    """Report workers whose own limits the application's settings overrule."""
    hard = app.conf.task_time_limit
    for reader in readers:
        if reader.own_limit and reader.time_limit and hard and hard != reader.time_limit:
            report.warn(
                NAME,
                f"worker {reader.program} has time_limit: {reader.time_limit:g} in celery_workers, but the "
                f"application's task_time_limit is {hard:g} s",
                "the application's goes first, as under plain Celery",
                "Remove one of the two; @task(time_limit=…) sets the limit of one task.",
            )
