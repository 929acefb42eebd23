"""gunicorn's configuration: the web side reports that it serves, in the file that a hand-over waits for.

gunicorn's settings and hooks, https://gunicorn.org/reference/settings/; the rest is on its command line. gunicorn
ignores the names here that its version does not know, as it would not on its command line.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from . import garbage, names, processes
from .files import read_object, write_atomically
from .release import RELEASE

worker_class = "celery_on_hosts.web.worker.Worker"
control_socket_disable = True
accesslog = errorlog = "-"
# nginx says who asked; the peer is nginx itself
access_log_format = '%({x-forwarded-for}i)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'

garbage.put_off()


def report() -> Path:
    """Return the file of the report; see ``liveness``."""
    return names.heartbeat_file(names.program())


def when_ready(server: Any) -> None:
    """The main process has started, and makes the others next."""
    garbage.search_again()


def pre_fork(server: Any, worker: Any) -> None:
    """A process is about to be made: let it listen from the beginning only where nobody else serves.

    The kernel gives each listening socket its share of the connections, and those of a process that still loads the
    application would wait for it. gunicorn makes the sockets in the process where ``reuse_port`` is set; older versions
    make them before, and share them.
    """
    if not server.LISTENERS:
        worker.listens_late = bool(server.WORKERS) or _has_predecessor(server.pid)
        server.cfg.set("reuse_port", not worker.listens_late)


def _has_predecessor(pid: int) -> bool:
    """Return whether another process of the program lives, as in a hand-over."""
    other = read_object(report()).get("pid")
    return bool(names.program()) and other not in (None, pid) and processes.exists(other)


def post_fork(server: Any, worker: Any) -> None:
    """A process has been made, and loads the application next."""
    garbage.put_off()


def post_worker_init(worker: Any) -> None:
    """A process has loaded the application."""
    garbage.search_again()
    if getattr(worker, "serves_after_load", True):
        report_ready(worker)


def report_ready(worker: Any) -> None:
    """Report that a process serves."""
    if not names.program():
        return  # started by hand
    said = {"program": names.program(), "kind": "web", "pid": worker.ppid, "release": RELEASE, "connected": True}
    write_atomically(report(), json.dumps(said))


def on_exit(server: Any) -> None:
    """The main process ends; its successor may have replaced the report by now."""
    if read_object(report()).get("pid") == server.pid:
        report().unlink(missing_ok=True)
