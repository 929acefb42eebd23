"""A lock that all workers of all hosts see, for what must not overlap."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from uuid import uuid4

from django.utils import timezone

from .models import Lock


@contextmanager
def lock(name: str, seconds: float) -> Iterator[bool]:
    """Try to hold the lock `name`, without waiting, and give it back at the end: `with lock("report", 600) as mine:`.

    The database lets one UPDATE of a row through at a time, and the second one finds the row taken.

    Args:
        name: of the lock, up to 100 characters.
        seconds: after which another one may have it, in case this process dies. Longer than the work may take.

    Returns:
        whether it is held.
    """
    holder, now = uuid4(), timezone.now()
    Lock.objects.get_or_create(name=name, defaults={"until": now})
    taken = Lock.objects.filter(name=name, until__lte=now).update(holder=holder, until=now + timedelta(seconds=seconds))
    try:
        yield bool(taken)
    finally:
        if taken:
            Lock.objects.filter(name=name, holder=holder).update(until=timezone.now())
