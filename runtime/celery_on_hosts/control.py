"""``celery -A <app> inspect release``: which release each worker runs, asked of the worker."""

from __future__ import annotations

import os
from typing import Any

from celery.worker.control import inspect_command

from .release import RELEASE


@inspect_command()
def release(state: Any, **_: Any) -> dict[str, Any]:
    """Show the release that the worker runs."""
    return {"release": RELEASE, "program": os.environ.get("CELERY_PROGRAM"), "pid": os.getpid()}
