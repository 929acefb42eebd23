"""Remote control: ``celery -A <app> inspect release``, and a mailbox of each process's own."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from celery.worker.control import inspect_command

from .release import RELEASE


@inspect_command()
def release(state: Any, **_: Any) -> dict[str, Any]:
    """Show the release that the worker runs."""
    return {"release": RELEASE, "program": os.environ.get("CELERY_PROGRAM"), "pid": os.getpid()}


def own_mailbox(app: Celery) -> None:
    """Give this process a mailbox of its own.

    RabbitMQ locks a mailbox, which is called after the node, to one connection; a worker that is handed over still has
    it when its successor starts. Who sends a command sends it to all mailboxes, so the name is nobody else's business.

    Args:
        app: the worker's.
    """
    mailbox = app.control.mailbox
    get_queue = type(mailbox).get_queue
    mailbox.get_queue = lambda hostname: get_queue(mailbox, f"{hostname}.{os.getpid()}")
