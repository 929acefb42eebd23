"""An idle worker turns its loop when a signal arrives."""

from __future__ import annotations

import os
import signal
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
    """Also after the loop was left and entered again, as when the broker was away."""
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
    assert time.monotonic() - started < 30, "it slept on"


def test_only_with_an_event_loop():
    assert not SignalWakeup(SimpleNamespace(use_eventloop=False)).include_if(SimpleNamespace(use_eventloop=False))
