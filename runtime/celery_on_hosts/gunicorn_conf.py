"""gunicorn's configuration: the web side says when it serves, in the file that a hand-over waits for.

gunicorn's hooks, https://gunicorn.org/reference/settings/#server-hooks; the rest is on its command line.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from . import garbage
from .liveness import run_dir
from .release import RELEASE

garbage.put_off()


def report() -> Path:
    """The file; see `liveness`."""
    return run_dir() / f"{os.environ['CELERY_PROGRAM']}.json"


def when_ready(server: Any) -> None:
    """The main process has started, and makes the others next."""
    garbage.search_again()


def post_fork(server: Any, worker: Any) -> None:
    """A process has been made, and loads the application next."""
    garbage.put_off()


def post_worker_init(worker: Any) -> None:
    """A process has loaded the application."""
    garbage.search_again()
    path = report()
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    said = {"program": path.stem, "kind": "web", "pid": worker.ppid, "release": RELEASE, "connected": True}
    scratch.write_text(json.dumps(said), encoding="utf-8")
    scratch.replace(path)


def on_exit(server: Any) -> None:
    """The main process ends; the file may be its successor's by now."""
    path = report()
    with contextlib.suppress(OSError, ValueError):
        if json.loads(path.read_text(encoding="utf-8"))["pid"] == server.pid:
            path.unlink()
