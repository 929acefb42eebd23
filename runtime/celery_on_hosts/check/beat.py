"""Check beat's scheduler, and the schedule that it keeps in a database."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from celery import Celery
from celery.utils.imports import load_extension_class_names, symbol_by_name

from ..platform_file import Platform
from ..text import one_line
from .report import Report

USUAL = "celery.beat:PersistentScheduler"
# Packages that keep a schedule elsewhere, which beat reads with their scheduler alone.
SCHEDULERS = {
    "django_celery_beat": "django_celery_beat.schedulers:DatabaseScheduler",
    "redbeat": "redbeat.RedBeatScheduler",
    "sqlalchemy_celery_beat": "sqlalchemy_celery_beat.schedulers:DatabaseScheduler",
    "celery_sqlalchemy_scheduler": "celery_sqlalchemy_scheduler.schedulers:DatabaseScheduler",
    "celerybeatmongo": "celerybeatmongo.schedulers.MongoScheduler",
}


def check(app: Celery, platform: Platform, report: Report) -> None:
    """Check the scheduler where beat runs on this host."""
    for program in platform.programs:
        if program.kind == "beat":
            _check_scheduler(app, program.scheduler, report)


def _check_scheduler(app: Celery, chosen: str, report: Report) -> None:
    """Check the scheduler that ``celery_beat_scheduler`` or the application's settings name."""
    used = chosen or app.conf.beat_scheduler
    try:
        kind = symbol_by_name(used, dict(load_extension_class_names("celery.beat_schedulers")))
    except Exception as error:
        setting = "celery_beat_scheduler" if chosen else "beat_scheduler"
        report.errors.append(
            f"{setting} is {used!r}, which does not load: {one_line(error).rstrip('.')}. "
            "Correct it, or add its package to the application's lock."
        )
        return
    if used == USUAL:
        for package in _idle():
            report.warn(
                "beat_scheduler",
                f"the application has {package}, and beat runs the schedule of the settings",
                f"what {package} keeps is not run",
                f"Set celery_beat_scheduler: {SCHEDULERS[package]} in the inventory.",
            )
    elif getattr(kind, "__module__", "").startswith("django_celery_beat."):
        _check_rows(app, report)


def _idle() -> Iterator[str]:
    """Yield each package that keeps a schedule and is there, for Django only where the project uses it."""
    for package in SCHEDULERS:
        if package == "django_celery_beat":
            apps = getattr(sys.modules.get("django.apps"), "apps", None)
            if apps is not None and apps.ready and apps.is_installed(package):
                yield package
        elif find_spec(package):
            yield package


def _check_rows(app: Celery, report: Report) -> None:
    """Compare the rows of django_celery_beat with the application's tasks."""
    try:
        from django_celery_beat.models import PeriodicTask

        rows: list[tuple[str, Any]] = list(PeriodicTask.objects.filter(enabled=True).values_list("name", "task"))
    except Exception:
        return  # no such table yet: the release commands have not run
    for name, task in rows:
        if task not in app.tasks:
            report.warn(
                "beat_schedule",
                f"the entry {name!r} of beat's database sends {task!r}, a task that this application does not define",
                "each of its messages is dead-lettered, unless workers of another application read its queue",
                "Disable, correct or delete the entry, in Django's admin for example.",
            )
