# SPDX-License-Identifier: MIT
"""Have lines of the platform at the top of a file that others own, between two lines that mark them."""

from __future__ import annotations

import re

BEGIN = "# BEGIN managed by Celery on Hosts: changes between these two lines are lost"
END = "# END managed by Celery on Hosts"
_BLOCK = re.compile(rf"(?ms)^{re.escape(BEGIN)}\n(.*?)^{re.escape(END)}\n?")


def block_of(text: str) -> str | None:
    """Return the lines of the platform in a file's text; None where there are none."""
    found = _BLOCK.search(text)
    return found[1] if found else None


def without_block(text: str) -> str:
    """Return a file's text as others have it."""
    return _BLOCK.sub("", text)


def with_block(text: str, lines: str) -> str:
    """Return a file's text with lines of the platform before those of others.

    Args:
        text: the file's text, with or without such lines.
        lines: whole lines.
    """
    return f"{BEGIN}\n{lines}{END}\n{without_block(text)}"
