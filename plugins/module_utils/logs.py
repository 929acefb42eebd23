# SPDX-License-Identifier: MIT
"""Read the end of programs' logs, for the message about a program that does not work. Standard library only."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping

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


def ends_of(paths: Iterable[str], begins: Mapping[str, int] | None = None, count: int = LINES) -> str:
    """Return the last lines of log files, as `ends` does.

    Args:
        paths: the files.
        begins: how long files were at a moment: what they had then is left out.
        count: how many lines of each.
    """
    found = []
    for path in paths:
        lines = [f"  {line}" for line in _last(path, (begins or {}).get(path, 0))[-count:]]
        found += [f"The last lines of {path}:", *lines] if lines else []
    return "\n".join(found)


def _last(path: str, begin: int) -> list[str]:
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(begin if begin <= size else 0, size - _BYTES))  # a shorter file is a new one
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [_PASSWORD.sub(r"\1:**@", line) for line in text.splitlines() if line.strip()]
