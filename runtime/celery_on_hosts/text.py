"""Text for people: tables, durations, messages without passwords."""

from __future__ import annotations

import re
from collections.abc import Sequence

_PASSWORD = re.compile(r"(\w+://[^\s:@/]*):[^\s@]+@")
NARROWEST = 20


def table(rows: Sequence[Sequence[str]], width: int | None = None) -> list[str]:
    """Align the cells of rows in columns.

    Args:
        rows: cells of text, as many in each row.
        width: columns of the terminal. The last cell of a row is cut to what is left of them, but not below
            NARROWEST. None: nothing is cut.

    Returns:
        a line for each row.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    left = None if width is None else max(NARROWEST, width - sum(widths) - 2 * len(widths))
    return [
        "  ".join([*(cell.ljust(size) for cell, size in zip(row, widths, strict=False)), _cut(row[-1], left)]).rstrip()
        for row in rows
    ]


def _cut(text: str, width: int | None) -> str:
    return text if width is None or len(text) <= width else text[: width - 1] + "…"


def duration(seconds: float) -> str:
    """Write a number of seconds in the largest unit that still tells something: ``90 s``, ``5 min``."""
    seconds = max(0, int(seconds))
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 7200:
        return f"{seconds // 60} min"
    return f"{seconds // 3600} h" if seconds < 172800 else f"{seconds // 86400} days"


def mask_passwords(text: str, mask: str = "**") -> str:
    """Replace the password of each URL in a text."""
    return _PASSWORD.sub(rf"\1:{mask}@", text)


def one_line(message: object) -> str:
    """Return a message, such as an exception, in one line and without the passwords of its URLs."""
    return mask_passwords(" ".join(str(message).split()) or type(message).__name__)
