"""A lone worker does not wait for the replies of other workers."""

from __future__ import annotations

from typing import Any

from celery import bootsteps


class SkipMingle(bootsteps.StartStopStep):
    """Leaves out the second of waiting ("mingle") that every start of a worker would begin with.

    Decided when the worker starts, not by an argument of its program: a second worker on the platform must not restart
    the first.
    """

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self.enabled = False  # there is nothing to start or stop
        if worker.app.loader.platform.lone_worker:
            worker.options["without_mingle"] = True
