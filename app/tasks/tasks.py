"""The example tasks. A task may run twice, so each one is written to give the same answer the second time."""

import time
from datetime import timedelta
from typing import Any

from celery import Task
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import F
from django.utils import timezone

from .celery import app

KEEP_RECORDS = timedelta(days=1)  # as long as Celery keeps results


@app.task
def add(x: float, y: float) -> float:
    """Add two numbers."""
    return x + y


@app.task
def mul(x: float, y: float) -> float:
    """Multiply two numbers."""
    return x * y


@app.task
def xsum(numbers: list[float]) -> float:
    """Sum a list of numbers."""
    return sum(numbers)


@app.task(bind=True)
def count(self: "Task[Any, Any]", seconds: int = 10) -> int:
    """Count the seconds, and report each one as progress."""
    for current in range(seconds):
        self.update_state(state="PROGRESS", meta={"current": current, "total": seconds})
        time.sleep(1)
    return seconds


@app.task
def fail(message: str = "as asked") -> None:
    """Fail with a message, so that you see what a failure looks like."""
    raise RuntimeError(message)


@app.task(
    bind=True,
    autoretry_for=(ConnectionError,),
    max_retries=5,
    retry_backoff=True,
    retry_backoff_max=60,
    retry_jitter=True,
)
def flaky(self: "Task[Any, Any]", failures: int = 2) -> int:
    """Fail the first few attempts and be retried, waiting longer each time; give up after five retries."""
    attempt = self.request.retries + 1
    if attempt <= failures:
        raise ConnectionError(f"attempt {attempt} failed")
    return attempt


@app.task(autoretry_for=(OperationalError, InterfaceError), max_retries=None, retry_backoff=True, retry_backoff_max=30)
def confirm(order_id: str) -> bool:
    """Confirm an order: what it sells is counted once, however often this runs. Tell whether this run did it.

    The receipt and the effect are committed together, and the database lets an order have one receipt: a second run
    finds it, or waits for the first to commit it, and does nothing. While the database is away this is tried again.
    """
    from .models import Order, Product, Receipt

    with transaction.atomic():
        order = Order.objects.get(pk=order_id)
        _, first = Receipt.objects.get_or_create(order=order)
        if first:
            Product.objects.filter(pk=order.product_id).update(sold=F("sold") + order.quantity)
    return first


@app.task(ignore_result=True)  # it is in the log, and too often to be kept
def relay() -> int:
    """Publish what the outbox still holds. Beat sends it."""
    from . import outbox

    return outbox.relay()


@app.task
def tick(name: str = "beat") -> str:
    """Record in the database when this ran last, for beat and a worker are alive then. Beat sends it.

    Args:
        name: of the entry in beat's schedule, up to 50 characters.
    """
    from .models import Tick  # Django is ready by the time that a task runs, not when this module is imported

    row, _ = Tick.objects.update_or_create(name=name, defaults={"at": timezone.now()})
    return row.at.isoformat()


@app.task
def prune() -> int:
    """Delete the records of what has expired, as its results have, and of what left the outbox. Beat sends it."""
    from .models import Outgoing, Run, Submission

    old = timezone.now() - KEEP_RECORDS
    submissions, _ = Submission.objects.filter(created__lt=old).delete()
    runs, _ = Run.objects.filter(created__lt=old).delete()
    outgoing, _ = Outgoing.objects.filter(sent__lt=old).delete()
    return submissions + runs + outgoing
