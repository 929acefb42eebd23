"""Remote control: ``celery -A <app> inspect release``, and a mailbox of each process's own."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from celery.worker.control import inspect_command

from . import names
from .couplings import OWN_MAILBOX
from .release import RELEASE


@inspect_command()
def release(state: Any, **_: Any) -> dict[str, Any]:
    """Show the release that the worker runs."""
    return {"release": RELEASE, "program": names.program() or None, "pid": os.getpid()}


def own_mailbox(app: Celery) -> None:
    """Give this process a mailbox of its own.

    RabbitMQ locks a mailbox, which is called after the node, to one connection; a worker that is handed over still has
    it when its successor starts. A command is sent to all mailboxes, so nobody else needs to know their names.

    Args:
        app: the worker's.
    """
    if not OWN_MAILBOX.fits():
        return
    mailbox = app.control.mailbox
    get_queue = type(mailbox).get_queue
    mailbox.get_queue = lambda hostname: get_queue(mailbox, f"{hostname}.{os.getpid()}")
