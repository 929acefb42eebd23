"""What beat sends. These entries are rows of the database, and can be edited at /admin/ while beat runs.

Entries from code are in the settings (`CELERY_BEAT_SCHEDULE`); beat writes them to the database when it starts.
"""

import json
import time
from datetime import timedelta
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from celery import group
from celery.result import AsyncResult
from django.utils import timezone
from pydantic import Field

from ..celery import app
from ..registry import Seconds, example
from ..tasks import tick

KEPT = timedelta(minutes=5)  # then beat switches the entry off
LONGEST = 300  # seconds that work which must not overlap may take, and its lock is held


@app.task(time_limit=LONGEST)
def alone(seconds: int) -> str:
    """Work that must not overlap: of two at the same time, one does nothing."""
    from ..locks import lock

    with lock("alone", seconds=LONGEST) as mine:
        if not mine:
            return "another one is at it"
        time.sleep(seconds)
        return "done"


def entry(name: str, **schedule: Any) -> dict[str, Any]:
    """Have beat send `tick` by a schedule for the next minutes, and return when it is due first."""
    from django_celery_beat.models import PeriodicTask

    values = {"task": tick.name, "args": json.dumps([name]), "enabled": True, "expires": timezone.now() + KEPT}
    unset = {"interval": None, "crontab": None, "solar": None}
    row, _ = PeriodicTask.objects.update_or_create(name=name, defaults={**values, **unset, **schedule})
    due = timezone.now() + row.schedule.remaining_estimate(timezone.now())
    return {"entry": name, "schedule": str(row.scheduler), "next": due.isoformat(timespec="seconds")}


@example()
def each_few_seconds(seconds: Seconds = 10) -> dict[str, Any]:
    """An interval: every few seconds."""
    from django_celery_beat.models import IntervalSchedule

    interval, _ = IntervalSchedule.objects.get_or_create(every=seconds, period=IntervalSchedule.SECONDS)
    return entry("interval", interval=interval)


@example()
def by_the_clock(
    minute: Annotated[str, Field(pattern=r"^(\*(/[1-9]\d?)?|[0-5]?\d)$")] = "*",
    hour: Annotated[str, Field(pattern=r"^(\*(/[1-9]\d?)?|[01]?\d|2[0-3])$")] = "*",
    zone: Literal["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"] = "Europe/Berlin",
) -> dict[str, Any]:
    """A crontab, by the clocks of a time zone: each entry has its own."""
    from django_celery_beat.models import CrontabSchedule

    crontab, _ = CrontabSchedule.objects.get_or_create(minute=minute, hour=hour, timezone=ZoneInfo(zone))
    return entry("crontab", crontab=crontab)


@example()
def by_the_sun(
    event: Literal["sunrise", "solar_noon", "sunset"] = "sunset",
    latitude: Annotated[float, Field(ge=-60, le=60)] = 52.52,
    longitude: Annotated[float, Field(ge=-180, le=180)] = 13.4,
) -> dict[str, Any]:
    """A solar schedule: at sunrise, noon or sunset of a place."""
    from django_celery_beat.models import SolarSchedule

    solar, _ = SolarSchedule.objects.get_or_create(event=event, latitude=latitude, longitude=longitude)
    return entry("solar", solar=solar)


@example()
def one_at_a_time(seconds: Seconds = 3) -> "AsyncResult[Any]":
    """A periodic task that takes longer than its interval would overlap: a lock sees to it that it does not."""
    return group(alone.s(seconds), alone.s(seconds)).apply_async()
