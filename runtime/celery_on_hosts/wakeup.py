"""A worker that reacts to a signal at once.

Celery's handler of SIGTERM only sets a flag, which the event loop looks at when it turns next. Python goes on waiting
in poll after a handler has run (PEP 475), so an idle worker began to stop up to a second late.
"""

from __future__ import annotations

import signal
import socket
from typing import Any

from celery import bootsteps


class SignalWakeup(bootsteps.StartStopStep):
    """Turns the event loop once for each signal, by a pair of sockets that Python writes to when a signal arrives."""

    requires = ("celery.worker.components:Hub",)

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self.reader: socket.socket | None = None
        self.writer: socket.socket | None = None

    def include_if(self, worker: Any) -> bool:
        """Return whether the worker's pool waits in an event loop."""
        return bool(worker.use_eventloop)

    def start(self, worker: Any) -> None:
        """Make the pair; the loop takes it over each time that it begins.

        A worker in a thread gets none, because signals are the main thread's. Nor does a worker in a process where
        other code is woken by signals, asyncio for example: Python knows one such file descriptor.
        """
        reader, writer = socket.socketpair()
        for end in (reader, writer):
            end.setblocking(False)
        try:
            others = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        except ValueError:  # not the main thread
            others = None
        if others != -1:
            if others is not None:
                signal.set_wakeup_fd(others)
            reader.close()
            writer.close()
            return
        self.reader, self.writer = reader, writer

    def register_with_event_loop(self, worker: Any, hub: Any) -> None:
        """Let the loop wait for the pair too; a loop that begins after a lost connection has forgotten it."""
        if self.reader:
            hub.add_reader(self.reader, self.reader.recv, 4096)

    def stop(self, worker: Any) -> None:
        """Close the pair: the process may outlive its worker."""
        if not self.reader or not self.writer:
            return
        others = signal.set_wakeup_fd(-1)
        if others not in (-1, self.writer.fileno()):
            signal.set_wakeup_fd(others)
        worker.hub.remove(self.reader)
        self.reader.close()
        self.writer.close()
        self.reader = self.writer = None

    terminate = stop
