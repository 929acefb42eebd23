"""The transactional outbox: what a transaction writes and what it sends happen both, or neither does.

A task that is sent before the commit runs for what may never be there; one that is sent after it is lost when the
process dies in between. So the task is written down in the same transaction. It is published at the commit, and what
was not, because the process died or the broker was away, is published by the relay, which beat sends every few seconds.

A task may be published twice, under the same id: by the relay, of one that died before it could note what it had done.
It has to be idempotent, as every task of Celery's has to be.
"""

import logging
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from celery import Task
from django.db import transaction
from django.utils import timezone

from .models import Outgoing
from .publishing import publish

log = logging.getLogger(__name__)

GRACE = timedelta(seconds=5)  # for whoever committed to publish it
BATCH = 1000  # at most, in a run of the relay


def send(task: "Task[Any, Any]", *args: Any, task_id: UUID) -> None:
    """Have a task sent if and when the current transaction is committed. A broker that is away raises nothing.

    Args:
        task: the task.
        args: its arguments, as JSON has them.
        task_id: its id, which is new.
    """
    outgoing = Outgoing.objects.create(id=task_id, task=task.name, args=args)
    transaction.on_commit(partial(_send_now, outgoing))


def _send_now(outgoing: Outgoing) -> None:
    try:
        _publish(outgoing)
    except Exception as error:  # noqa: BLE001 - of the broker or the database: it is committed, and not forgotten
        log.warning("%s is left to the relay: %r", outgoing, error)


def _publish(outgoing: Outgoing) -> None:
    publish(outgoing.task, outgoing.args, {}, outgoing.id)
    Outgoing.objects.filter(pk=outgoing.pk).update(sent=timezone.now())


def relay() -> int:
    """Publish what was left, the oldest first, and return how much it was.

    Any number of these may run side by side: each skips what another one has locked.

    Raises:
        Exception: the broker did not take it; the rest is left to the next run.
    """
    for count in range(BATCH):
        if not _relay_one():
            return count
    return BATCH


def _relay_one() -> bool:
    left = Outgoing.objects.filter(sent=None, created__lt=timezone.now() - GRACE).order_by("created")
    with transaction.atomic():
        outgoing = left.select_for_update(skip_locked=True).first()
        if outgoing:
            _publish(outgoing)
    return outgoing is not None
