"""Lines of JSON in place of text, for a log that programs read: `LOG_FORMAT=json`."""

import logging
import os
from typing import Any

from celery import current_task
from celery.signals import after_setup_logger, after_setup_task_logger
from pythonjsonlogger.json import JsonFormatter

JSON = os.environ.get("LOG_FORMAT", "text") == "json"


class JsonLines(JsonFormatter):
    """A line of JSON for each record, with the task that wrote it."""

    def __init__(self) -> None:
        super().__init__(
            "{asctime}{levelname}{name}{message}", style="{", rename_fields={"asctime": "time", "levelname": "level"}
        )

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        """Add what the record does not have itself: the name and the id of the task that runs, if one does."""
        super().add_fields(log_data, record, message_dict)
        if current_task and current_task.request.id:
            log_data |= {"task": current_task.name, "task_id": current_task.request.id}


def write_json(logger: logging.Logger, **_: Any) -> None:
    """Have a logger of Celery's write JSON, where Celery has just set it up."""
    for handler in logger.handlers:
        handler.setFormatter(JsonLines())


def install() -> None:
    """Write JSON in workers and in beat, if the environment asks for it."""
    if JSON:
        after_setup_logger.connect(write_json)
        after_setup_task_logger.connect(write_json)
