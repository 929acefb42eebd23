"""The tasks of Celery's guides as a Django project: ``celery -A tasks …`` and ``from tasks import add`` both work."""

from .celery import app
from .faults import crash, exhaust
from .tasks import add, confirm, count, fail, flaky, mul, prune, relay, tick, xsum

celery_app = app

__all__ = [
    "add",
    "app",
    "celery_app",
    "confirm",
    "count",
    "crash",
    "exhaust",
    "fail",
    "flaky",
    "mul",
    "prune",
    "relay",
    "tick",
    "xsum",
]
