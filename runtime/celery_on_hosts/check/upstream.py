"""Check that the runtime can do everything with the application's Celery, kombu, billiard and amqp."""

from __future__ import annotations

from .. import couplings, versions
from ..platform_file import Platform
from .report import Report


def check(platform: Platform, report: Report) -> None:
    """Report what the runtime cannot replace in the installed versions: an error where the promise rests on it.

    What the installed Celery itself cannot do is a warning.
    """
    for text in versions.shortcomings(platform):
        report.warn("versions", text)
    for coupling in couplings.ALL:
        if coupling.broker not in ("", platform.broker):
            continue
        if coupling is couplings.REDIS_TRANSPORT and platform.redis_transport == "stock":
            continue
        obstacle = coupling.obstacle()
        if obstacle:
            if coupling.required:
                report.errors.append(obstacle)
            else:
                report.warn("versions", obstacle)
