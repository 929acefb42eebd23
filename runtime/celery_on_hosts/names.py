"""Names that the runtime shares with the deployment: queues, files, environment variables.

Standard library only: the controller may import this module too.
"""

from __future__ import annotations

import os
from pathlib import Path

# Queues of RabbitMQ, and a list of Redis by the first name, that keep what no worker will run.
DEAD_LETTERS = "celery.dead"
UNROUTABLE = "celery.unroutable"
DEAD_LETTER_QUEUES = (DEAD_LETTERS, UNROUTABLE)

PLATFORM_VARIABLE = "CELERY_PLATFORM"  # the path of platform.json
PROGRAM_VARIABLE = "CELERY_PROGRAM"  # supervisor's name of a program
RUN_DIR_VARIABLE = "CELERY_RUN_DIR"
PLATFORM_RESULTS_VARIABLE = "CELERY_PLATFORM_RESULTS"  # the address of the platform's result store
CACHE_VARIABLE = "CACHE_URL"  # the address of the application's cache
STATE_DIR_VARIABLE = "CELERY_STATE_DIR"

PLATFORM_FILE = "/etc/celery/platform.json"
ENVIRONMENT_FILE = "/etc/celery/environment"
LOG_DIR = "/var/log/celery"
RUN_DIR = "/run/celery"
STATE_DIR = "/var/lib/celery"
CURRENT_RELEASE = Path("/opt/celery/current")


def program() -> str:
    """Return supervisor's name of this process; empty for a process that was started by hand."""
    return os.environ.get(PROGRAM_VARIABLE, "")


def run_dir() -> Path:
    """Return the folder of what the running programs say about themselves."""
    return Path(os.environ.get(RUN_DIR_VARIABLE) or RUN_DIR)


def revokes_dir() -> Path:
    """Return the folder of the files in which workers keep what was revoked."""
    return Path(os.environ.get(STATE_DIR_VARIABLE) or STATE_DIR) / "revokes"


def heartbeat_file(program: str) -> Path:
    """Return the file of a program's heartbeat."""
    return run_dir() / f"{program}.json"


def log_file(program: str) -> str:
    """Return the file of a program's log."""
    return f"{LOG_DIR}/{program}.log"
