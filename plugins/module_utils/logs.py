# SPDX-License-Identifier: MIT
"""Read the end of programs' logs, for the message about a program that does not work. Standard library only."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

LINES = 10  # of each log
_BYTES = 20_000  # from the end of a log: more than its last lines need
_PASSWORD = re.compile(r"(\w+://[^\s:@/]*):[^\s@]+@")  # as runtime/celery_on_hosts/text.py hides it


def ends(programs: Iterable[str], folder: str) -> str:
    """Return the last lines of programs' logs, below a line that names the log; passwords of URLs are hidden.

    Args:
        programs: supervisord's names.
        folder: where ``NAME.log`` is. A program without a log, or with an empty one, is left out.
    """
    return ends_of(os.path.join(folder, f"{program}.log") for program in programs)


def ends_of(paths: Iterable[str]) -> str:
    """Return the last lines of log files, as `ends` does."""
    found = []
    for path in paths:
        lines = [f"  {line}" for line in _last(path)]
        found += [f"The last lines of {path}:", *lines] if lines else []
    return "\n".join(found)


def _last(path: str) -> list[str]:
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [_PASSWORD.sub(r"\1:**@", line) for line in text.splitlines() if line.strip()][-LINES:]
