# SPDX-License-Identifier: MIT
"""Read what ``celery_on_hosts.check --summary`` printed."""

from __future__ import annotations

import json
from typing import Any


def read_summary(output: str) -> dict[str, Any]:
    """Return the last JSON object in a line of its own; empty where there is none.

    The application may print something while it is imported, or at its end.
    """
    for line in reversed(output.splitlines()):
        if line.startswith("{"):
            try:
                found = json.loads(line)
            except ValueError:
                continue
            if isinstance(found, dict):
                return found
    return {}
