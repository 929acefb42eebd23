"""An idle worker turns its loop when a signal arrives."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from types import SimpleNamespace

import pytest
from kombu.asynchronous import Hub

from celery_on_hosts.wakeup import SignalWakeup


@pytest.fixture
def hub():
    """An event loop that has nothing to do for a minute."""
    hub = Hub()
    hub.timer.call_after(60, int)
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    yield hub
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGUSR1, before)
    hub.close()


@pytest.mark.parametrize("loops", [1, 2])
def test_a_signal_turns_an_idle_loop(hub, loops):
    """Also after the loop ended and began again, as when the broker was away."""
    worker = SimpleNamespace(use_eventloop=True)
    step = SignalWakeup(worker)
    step.start(worker)
    for _ in range(loops):
        hub.reset()
        step.register_with_event_loop(worker, hub)
    loop = hub.create_loop()
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1)).start()
    started = time.monotonic()
    next(loop)
    assert time.monotonic() - started < 30, "the loop slept on"


def wakeup_fd() -> int:
    """Return the file descriptor that Python writes to when a signal arrives, -1 for none."""
    signal.set_wakeup_fd(fd := signal.set_wakeup_fd(-1))
    return fd


def test_a_worker_that_stopped_leaves_nothing(hub):
    worker = SimpleNamespace(use_eventloop=True, hub=hub)
    step = SignalWakeup(worker)
    step.start(worker)
    step.register_with_event_loop(worker, hub)
    reader, writer = step.reader, step.writer
    assert wakeup_fd() == writer.fileno()
    step.stop(worker)
    step.stop(worker)
    assert (wakeup_fd(), reader.fileno(), writer.fileno(), hub.readers) == (-1, -1, -1, {})


def test_a_worker_in_a_thread_is_woken_by_no_signal(hub):
    worker = SimpleNamespace(use_eventloop=True, hub=hub)
    step = SignalWakeup(worker)
    thread = threading.Thread(target=step.start, args=(worker,))
    thread.start()
    thread.join()
    assert (step.reader, wakeup_fd()) == (None, -1)
    step.register_with_event_loop(worker, hub)
    step.stop(worker)
    assert hub.readers == {}


def test_who_is_woken_by_signals_already_stays_so(hub):
    """As asyncio does when it runs a worker in the main thread of its process."""
    worker = SimpleNamespace(use_eventloop=True, hub=hub)
    step = SignalWakeup(worker)
    asyncios, reads = socket.socketpair()
    asyncios.setblocking(False)
    signal.set_wakeup_fd(asyncios.fileno())
    step.start(worker)
    step.register_with_event_loop(worker, hub)
    assert (wakeup_fd(), hub.readers) == (asyncios.fileno(), {})
    step.stop(worker)
    assert wakeup_fd() == asyncios.fileno()
    signal.set_wakeup_fd(-1)
    asyncios.close()
    reads.close()


def test_only_with_an_event_loop():
    assert not SignalWakeup(SimpleNamespace(use_eventloop=False)).include_if(SimpleNamespace(use_eventloop=False))
