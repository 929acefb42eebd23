# SPDX-License-Identifier: MIT
"""Read the end of programs' logs, for the message about a program that does not work. Standard library only."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence

LINES = 10  # of each log
_BYTES = 60_000  # from the end of a log: more than its last traceback needs
_MARKERS = re.compile(r"\s*[~^][~^ ]*")  # below a line of a traceback
_CHAINED = (  # between the tracebacks of an exception and of the exception that was raised while it was handled
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)
_PASSWORD = re.compile(r"(\w+://[^\s:@/]*):[^\s@]+@")  # as runtime/celery_on_hosts/text.py hides it


def ends(programs: Iterable[str], folder: str) -> str:
    """Return the last lines of programs' logs, below a line that names the log; passwords of URLs are hidden.

    Args:
        programs: supervisord's names.
        folder: where ``NAME.log`` is. A program without a log, or with an empty one, is left out.
    """
    return ends_of(os.path.join(folder, f"{program}.log") for program in programs)


def ends_of(paths: Iterable[str], begins: Mapping[str, int] | None = None, count: int = LINES, errors: int = 0) -> str:
    """Return the last lines of log files, as `ends` does.

    Args:
        paths: the files.
        begins: how long files were at a moment: what they had then is left out.
        count: how many lines of each.
        errors: how many of each log's first lines with ``[error]`` are quoted, too: RabbitMQ says first what is wrong,
            and then how each of its processes ended.
    """
    found = []
    for path in paths:
        lines = _last(path, (begins or {}).get(path, 0))
        last = lines[-count:]
        first = [line for line in lines if "[error]" in line][:errors]
        unseen = [line for line in first if line not in last]
        found += [f"The first errors in {path}:", *(f"  {line}" for line in unseen)] if unseen else []
        earlier = [line for line in _causes(lines) if line not in last]
        found += [f"The last lines of {path}:", *(f"  {line}" for line in last)] if last else []
        found += ["The exceptions that led there:", *(f"  {line}" for line in earlier)] if earlier else []
    return "\n".join(found)


def _causes(lines: Sequence[str]) -> list[str]:
    """Return the exceptions that led to the last one, the first one first: the cause is far above the last lines."""
    begin = max((index for index, line in enumerate(lines) if _begins(lines, index)), default=0)
    return [before for before, line in zip(lines[begin:], lines[begin + 1 :], strict=False) if line.strip() in _CHAINED]


def _begins(lines: Sequence[str], index: int) -> bool:
    """Tell whether a line is the first of a traceback that no exception led to."""
    return lines[index].strip().startswith("Traceback (") and (index == 0 or lines[index - 1].strip() not in _CHAINED)


def _last(path: str, begin: int) -> list[str]:
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(begin if begin <= size else 0, size - _BYTES))  # a shorter file is a new one
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [
        _PASSWORD.sub(r"\1:**@", line) for line in text.splitlines() if line.strip() and not _MARKERS.fullmatch(line)
    ]
