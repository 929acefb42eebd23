"""Compare an application with the release that is current: which tasks, queues and entries of the schedule are gone.

What still waits for a task or a queue that a release renames or drops would be found much later, dead-lettered or
not at all. The names of the current release are in ``releases.json``, where the deployment keeps what its check said;
its queues are in the platform.json that is in use.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from celery import Celery

from .. import names
from ..files import read_object
from ..platform_file import Platform
from .report import Report, first_few, is_builtin

KEEP = (
    "Keep the old name for one release more, as a task that calls the new one, or see `make dead` later: its messages "
    "can be sent again."
)


def names_of(app: Celery) -> dict[str, list[str]]:
    """Return the names by which messages and schedules refer to an application's parts."""
    return {
        "tasks": sorted(name for name in app.tasks if not is_builtin(name)),
        "schedule": sorted(map(str, app.conf.beat_schedule or {})),
    }


def check(app: Celery, report: Report) -> None:
    """Report tasks and entries of beat's schedule that the current release has and the application has not."""
    report.names = names_of(app)
    current = current_release()
    before = recorded_names(current)
    gone = sorted({*before.get("tasks", [])} - {*report.names["tasks"]})
    if gone:
        report.warn(
            "",
            f"release {current}, which ran before, has {_few('task', gone)}, and this release has not",
            "messages that wait for it, with an ETA or for a retry too, are dead-lettered",
            KEEP,
            once=True,
        )
    entries = sorted({*before.get("schedule", [])} - {*report.names["schedule"]})
    if entries:
        database = "Database" in str(app.conf.beat_scheduler)
        report.warn(
            "",
            f"release {current}, which ran before, has {_few('entry', entries)} in beat_schedule, this release has not",
            "beat's database keeps it, and goes on sending its task"
            if database
            else "beat does not send its task any more",
            "Disable or delete it there, in Django's admin for example." if database else "Nothing, if that is meant.",
            once=True,
        )


def check_queues(connection: Any, platform: Platform, report: Report) -> None:
    """Report queues that no worker reads any more, with what waits in them.

    Args:
        connection: kombu's, open.
        platform: what the application is to run on.
        report: where to report.
    """
    from ..health import queues

    used = read_object(Path(names.PLATFORM_FILE)).get("queues") or []
    for queue in [name for name in used if name not in platform.queues]:
        depth = queues.depth(connection, queue)
        if depth is None or not depth.waiting:
            continue
        count = "1 message waits" if depth.waiting == 1 else f"{depth.waiting} messages wait"
        report.warn(
            "",
            f"no worker reads queue {queue!r} any more, and {count} in it",
            "they wait without end",
            f"Let a worker of celery_workers read {queue!r} until it is empty: celery-health shows its length.",
            once=True,
        )


def current_release() -> str:
    """Return the id of the current release, empty where there is none."""
    try:
        return names.CURRENT_RELEASE.readlink().name
    except OSError:
        return ""


def recorded_names(release: str) -> dict[str, Collection[str]]:
    """Return what was recorded of a release; empty where it was checked before names were recorded."""
    try:
        record = json.loads((names.CURRENT_RELEASE.parent / "releases.json").read_text(encoding="utf-8"))
        found = record["summaries"][release]["names"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def _few(what: str, found: Collection[str]) -> str:
    plural = {"task": "tasks", "entry": "entries"}[what]
    return f"{what if len(found) == 1 else plural} {first_few(found)}"
