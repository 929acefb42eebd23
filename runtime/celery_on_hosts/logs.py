"""Task name and id in front of whatever a task logs or prints, by any logger."""

from __future__ import annotations

import copy
import logging
from typing import Any

from celery import signals
from celery._state import get_current_task
from celery.utils.log import ColorFormatter

# These write the task's name and id themselves.
_CELERY = ("celery.app.trace", "celery.worker", "celery.task")


class TaskContextFormatter(ColorFormatter):
    """Celery's formatter, which says which task a line comes from."""

    def format(self, record: logging.LogRecord) -> str:
        """Format the record; one written inside a task starts with ``name[id]: ``."""
        task = get_current_task()
        if task is not None and task.request.id and not record.name.startswith(_CELERY):
            record = copy.copy(record)
            record.msg, record.args = f"{task.name}[{task.request.id}]: {record.getMessage()}", ()
        return str(super().format(record))


def _after_setup(logger: logging.Logger, colorize: bool | None = None, **_: Any) -> None:
    for handler in logger.handlers:
        old = handler.formatter
        if old is not None and type(old) is ColorFormatter:
            handler.setFormatter(TaskContextFormatter(old._fmt, datefmt=old.datefmt, use_color=bool(colorize)))


def install() -> None:
    """Use the formatter wherever Celery sets logging up; an application that sets it up itself keeps its own."""
    signals.after_setup_logger.connect(_after_setup, weak=False, dispatch_uid=__name__)
