"""A worker that hears a signal at once.

Celery's handler of SIGTERM only sets a flag, which the event loop looks at when it turns next. Python goes on waiting
in poll after a handler has run (PEP 475), so an idle worker began to stop up to a second late.
"""

from __future__ import annotations

import signal
import socket
from typing import Any

from celery import bootsteps


class SignalWakeup(bootsteps.StartStopStep):
    """Turns the event loop once for each signal, by a pair of sockets that Python writes to when one arrives."""

    requires = ("celery.worker.components:Hub",)

    def include_if(self, worker: Any) -> bool:
        """Only pools with an event loop wait in one."""
        return bool(worker.use_eventloop)

    def start(self, worker: Any) -> None:
        """Make the pair; the loop takes it over each time that it begins."""
        self.reader, self.writer = socket.socketpair()
        for end in (self.reader, self.writer):
            end.setblocking(False)
        signal.set_wakeup_fd(self.writer.fileno(), warn_on_full_buffer=False)

    def register_with_event_loop(self, worker: Any, hub: Any) -> None:
        """Let the loop wait for the pair too; after a lost connection it has forgotten it."""
        hub.add_reader(self.reader, self.reader.recv, 4096)
