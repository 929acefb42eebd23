"""A line for each thing that happens to a task, in a file that broker, results and database know nothing of.

For tests that break those: what ran is then known from elsewhere. Off unless the environment names a file.
"""

import json
import os
import time
from typing import Any

from celery import Task
from celery.signals import celeryd_init, task_failure, task_prerun, task_retry, task_success


class Ledger:
    """Writes JSON lines of `id`, `task`, `event`, `t` (seconds since 1970), `pid` and `node`.

    `start` is written before the task's body runs. `success`, `failure` and `retry` come after it, once its result is
    stored and before its message is acknowledged: a task without one of them will be run again.

    Celery catches and logs what a receiver of its signals raises, so a ledger that cannot be written to is an error
    in the worker's log and costs no task.

    Args:
        path: the file, in a folder that exists. It is opened for each line, so it may be moved away at any time.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.node = ""

    def connect(self) -> None:
        """Write from now on, in this process and in those that it forks."""
        celeryd_init.connect(self.on_celeryd_init, weak=False)
        task_prerun.connect(self.on_start, weak=False)
        task_success.connect(self.on_success, weak=False)
        task_failure.connect(self.on_failure, weak=False)
        task_retry.connect(self.on_retry, weak=False)

    def write(self, event: str, task: "Task[Any, Any]", task_id: str) -> None:
        """Append a line by a single write(2), which no other process's comes between.

        Raises:
            OSError: the file cannot be opened, or took only a part of the line.
        """
        entry = {
            "id": task_id,
            "task": task.name,
            "event": event,
            "t": time.time(),
            "pid": os.getpid(),
            # a worker reports the task of a child that died, and has no request of its own
            "node": task.request.hostname or self.node,
        }
        line = json.dumps(entry).encode() + b"\n"
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            if (written := os.write(file, line)) != len(line):
                raise OSError(f"{self.path} took {written} of {len(line)} bytes")
        finally:
            os.close(file)

    def on_celeryd_init(self, sender: str, **_: Any) -> None:
        """Remember the worker's name, which its children inherit."""
        self.node = sender

    def on_start(self, sender: "Task[Any, Any]", task_id: str, **_: Any) -> None:
        """The task's body is about to run."""
        self.write("start", sender, task_id)

    def on_success(self, sender: "Task[Any, Any]", **_: Any) -> None:
        """It has returned, and its result is stored."""
        self.write("success", sender, sender.request.id or "")

    def on_failure(self, sender: "Task[Any, Any]", task_id: str, **_: Any) -> None:
        """It has raised, ran out of time, or its process is gone for good."""
        self.write("failure", sender, task_id)

    def on_retry(self, sender: "Task[Any, Any]", request: Any, **_: Any) -> None:
        """It will be tried again, under the same id."""
        self.write("retry", sender, request.id)
