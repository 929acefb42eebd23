"""A task's name and id in front of whatever it logs or prints, by any logger."""

from __future__ import annotations

import copy
import logging
from typing import Any

from celery import signals
from celery.utils.log import ColorFormatter

from .couplings import TASK_IN_LOG_LINES

# These write the task's name and id themselves.
_CELERY = ("celery.app.trace", "celery.worker", "celery.task")


class TaskContextFormatter(ColorFormatter):
    """Celery's formatter, which says which task a line comes from."""

    def format(self, record: logging.LogRecord) -> str:
        """Format the record; a record from inside a task starts with ``name[id]: ``."""
        from celery._state import get_current_task

        task = get_current_task()
        if task is not None and task.request.id and not record.name.startswith(_CELERY):
            record = copy.copy(record)
            record.msg, record.args = f"{task.name}[{task.request.id}]: {record.getMessage()}", ()
        return str(super().format(record))


def install() -> None:
    """Use the formatter wherever Celery sets logging up. An application that sets it up itself keeps its own."""
    if TASK_IN_LOG_LINES.fits():
        signals.after_setup_logger.connect(_after_setup, weak=False, dispatch_uid=__name__)


def _after_setup(logger: logging.Logger, colorize: bool | None = None, **_: Any) -> None:
    for handler in logger.handlers:
        old = handler.formatter
        if old is not None and type(old) is ColorFormatter:
            formatter = TaskContextFormatter(old._fmt, use_color=bool(colorize))
            formatter.datefmt = old.datefmt  # Celery before 5.7 does not take it as an argument
            handler.setFormatter(formatter)
