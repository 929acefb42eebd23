"""The platform's time limits, for tasks that have no limit of their own.

They belong to the worker and not to the settings that tasks are made with. There, they would go into each message and
be taken for the application's: Celery refuses to send a task whose soft limit is longer than its hard limit, and the
platform's soft limit would be compared with the application's hard one.

In a worker, a task that has a hard limit of its own (a setting of the application, an option of the task or of the
call) gets no soft limit but its own. And a soft limit beyond the hard one is left out: Celery's prefork pool starts to
wait for the hard limit when the soft one has passed (celery/concurrency/asynpool.py, ``on_timeout_set``), so the hard
limit came late.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from celery import bootsteps

from .couplings import TIME_LIMITS
from .upstream import replace


class Limits(bootsteps.StartStopStep):
    """Sets a worker's limits before its pool is made: the application's, its arguments', or the platform's."""

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self.enabled = False  # there is nothing to start or stop
        if not TIME_LIMITS.fits():
            return
        conf, settings = worker.app.conf, worker.app.loader.platform.settings
        # Celery before 5.7 makes no task with these settings: there they are the worker's, below its arguments.
        if conf.task_time_limit:
            worker.time_limit, worker.soft_time_limit = conf.task_time_limit, conf.task_soft_time_limit
        elif conf.task_soft_time_limit:
            worker.soft_time_limit = conf.task_soft_time_limit
        if worker.time_limit is None:
            worker.time_limit = settings.get("task_time_limit")
        if worker.soft_time_limit is None and not conf.task_time_limit:
            worker.soft_time_limit = settings.get("task_soft_time_limit")


def install() -> None:
    """Change the prefork pool of this process. Idempotent."""
    if TIME_LIMITS.fits():
        from celery.concurrency.prefork import TaskPool

        replace(TaskPool, "apply_async", _drop_foreign_soft_limit)


def _drop_foreign_soft_limit(plain: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(plain)
    def apply_async(
        self: Any, *args: Any, timeout: float | None = None, soft_timeout: float | None = None, **options: Any
    ) -> Any:
        job = plain(self, *args, timeout=timeout, soft_timeout=soft_timeout, **options)
        if job is not None and job._soft_timeout:
            only_hard = timeout and not soft_timeout
            if only_hard or (job._timeout and job._soft_timeout > job._timeout):
                job._soft_timeout = 0  # None would be the pool's own
        return job

    return apply_async
