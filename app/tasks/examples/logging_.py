"""What a task writes, and where it can be read.

`LOG_FORMAT=json` makes each line a JSON object, with the task's name and id in fields of their own (`logs.py`).
"""

import logging
import sys

from celery.result import AsyncResult
from celery.utils.log import get_task_logger

from ..celery import app
from ..registry import Text, example

log = get_task_logger(__name__)
other = logging.getLogger("some.library")


@app.task
def chatter(text: str) -> None:
    """Write the text to the log in each way there is."""
    log.info("by the task's logger: %s", text)  # with the task's name and id, wherever it runs
    other.warning("by a library's logger: %s", text)
    print(f"printed: {text}")  # Celery makes log lines of these two
    print(f"printed to stderr: {text}", file=sys.stderr)


@example()
def log_lines(text: Text = "hello") -> "AsyncResult[None]":
    """`get_task_logger` puts the task's name and id in each line; what is printed becomes log lines, too."""
    return chatter.delay(text)
