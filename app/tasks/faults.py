"""Tasks that do harm, for tests of what a worker survives. The page has none of them; see `TASKS_FAULTS`."""

import os
import signal

from billiard import current_process

from .celery import app

MAX_MEBIBYTES = 8192


@app.task
def crash(what: str = "child") -> None:
    """Kill a process of the worker by SIGKILL, each time that this is run.

    Args:
        what: `child`, the process that runs this task, or `worker`, the main process as well.
    """
    if what not in ("child", "worker"):
        raise ValueError(f"what must be child or worker, not {what!r}")
    # The pools that run tasks in the main process have no other one, and supervisord for a parent.
    if what == "worker" and current_process().daemon:
        os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)  # it would go on to finish the task


@app.task
def exhaust(mebibytes: int = 1024) -> int:
    """Take memory, a MiB at a time, and use it: whoever guards the memory kills this process.

    Args:
        mebibytes: how much is enough, up to 8192, for a machine that has no such guard; returned when it was had.
    """
    if not 0 < mebibytes <= MAX_MEBIBYTES:
        raise ValueError(f"mebibytes must be from 1 to {MAX_MEBIBYTES}, not {mebibytes}")
    return len([b"\xff" * 2**20 for _ in range(mebibytes)])
