# SPDX-License-Identifier: MIT
"""Say what to do where a command fails for an extension that PostgreSQL does not have. Standard library only."""

from __future__ import annotations

import re

# A server whose messages are in another language is not understood.
_MISSING = re.compile(
    r'permission denied to create extension "([\w-]+)"'
    r'|extension "([\w-]+)" is not available'
    r'|could not open extension control file ".*/([\w-]+)\.control"'
)


def advice(output: str) -> str:
    """Return what to do about the extensions that a command lacks; empty where it lacks none.

    Args:
        output: all that the command wrote.
    """
    found = list(dict.fromkeys(filter(None, (name for names in _MISSING.findall(output) for name in names))))
    if not found:
        return ""
    return (
        f"Only PostgreSQL's administrator creates {', '.join(found)}. The platform does so before any command runs: "
        f"celery_database_extensions: [{', '.join(found)}], with those that are listed already. In a database "
        "elsewhere (celery_database_url) that is for its administrator."
    )
