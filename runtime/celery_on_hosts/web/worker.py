"""gunicorn's process for any web application: threads for WSGI, uvicorn for ASGI.

What the application is, is seen once it is loaded, so nothing has to say it beforehand. gunicorn stays the parent of
both: sockets, hand-over, graceful stop and the processes' supervision are the same.

https://gunicorn.org/reference/settings/#worker-class and https://uvicorn.dev/settings/
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any

from gunicorn import sock, util
from gunicorn.arbiter import Arbiter
from gunicorn.workers.gthread import ThreadWorker

from .. import gunicorn_conf
from . import exceptions
from .application import Interface, interface

NOTIFY_INTERVAL_S = 1
LOG_FORMAT = "%(asctime)s %(message)s"


class _Late(list[Any]):
    """The sockets of a process, made when uvicorn asks for them: after the application's own start."""

    def __init__(self, worker: Worker) -> None:
        super().__init__()
        self._worker = worker

    def __iter__(self) -> Iterator[Any]:
        if not self:
            self._worker.listen()
            self.extend(self._worker.sockets)
        return super().__iter__()


class Worker(ThreadWorker):
    """A process of the web side."""

    interface: Interface = "wsgi"
    listens_late = False  # the sockets are made once the process can serve

    def load_wsgi(self) -> None:
        """Load the application, and see which interface it has."""
        super().load_wsgi()
        self.interface = interface(self.wsgi, self.cfg.default_proc_name)
        exceptions.install(self.log)
        if self.listens_late and self.interface == "wsgi":
            self.listen()

    def listen(self) -> None:
        """Make the sockets."""
        self.cfg.set("reuse_port", True)
        self.sockets = sock.create_sockets(self.cfg, self.log)
        for one in self.sockets:
            util.close_on_exec(one)
        self.wait_fds = [*self.sockets, self.PIPE[0]]

    @property
    def serves_after_load(self) -> bool:
        """Whether the process serves as soon as the application is loaded: ASGI has its own start after that."""
        return self.interface == "wsgi"

    def run(self) -> None:
        """Serve until the process is told to stop."""
        if self.interface == "wsgi":
            super().run()
        else:
            self._run_uvicorn()

    def _run_uvicorn(self) -> None:
        """Serve ASGI."""
        import uvicorn

        self._share_logs()
        worker = self

        class Server(uvicorn.Server):
            """A server that reports that it serves once the application has started (ASGI's lifespan)."""

            async def startup(self, sockets: Any = None) -> None:
                await super().startup(sockets=_Late(worker) if worker.listens_late else sockets)
                if self.started and not self.should_exit:
                    gunicorn_conf.report_ready(worker)

        options: dict[str, Any] = {
            "interface": self.interface,
            "log_config": None,
            "access_log": bool(self.cfg.accesslog),
            "timeout_keep_alive": self.cfg.keepalive,
            "timeout_notify": NOTIFY_INTERVAL_S,
            "callback_notify": self._notify_parent,
            "limit_max_requests": None if self.max_requests == sys.maxsize else self.max_requests,
            "proxy_headers": True,
            "forwarded_allow_ips": self.cfg.forwarded_allow_ips,
        }
        if "timeout_graceful_shutdown" in inspect.signature(uvicorn.Config).parameters:  # uvicorn 0.22
            options["timeout_graceful_shutdown"] = max(1, self.cfg.graceful_timeout - 5)
        self.server = Server(uvicorn.Config(self.wsgi, **options))
        try:
            self.server.run(sockets=self.sockets)
        finally:
            for one in self.sockets:
                one.close()
        if not self.server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)

    async def _notify_parent(self) -> None:
        """Tell gunicorn that the process lives, and end when gunicorn is no more."""
        self.notify()
        if self.ppid != os.getppid():
            self.server.should_exit = True
        await asyncio.sleep(0)

    def _share_logs(self) -> None:
        """Write uvicorn's log where gunicorn's goes."""
        errors = logging.getLogger("uvicorn.error")
        errors.handlers, errors.propagate, errors.disabled = list(self.log.error_log.handlers), False, False
        errors.setLevel(self.log.error_log.level)
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter(LOG_FORMAT))
        access = logging.getLogger("uvicorn.access")
        access.handlers, access.propagate, access.disabled = [handler], False, False
        access.setLevel(logging.INFO)
