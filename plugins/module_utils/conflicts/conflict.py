# SPDX-License-Identifier: MIT
"""What is in the way on a host, and how a list of it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Conflict:
    """Something on the host that is in the way.

    Args:
        service: the service of the platform that would collide with it.
        found: the file, port or account, and what it holds or who has it.
        means: what a deployment would do to it.
        advice: what to do.
    """

    service: str
    found: str
    means: str
    advice: str

    def render(self) -> str:
        """Return the conflict as lines of text."""
        return f"{self.service}\n   found: {self.found}\n   means: {self.means}\n   do:    {self.advice}"


def render(host: str, conflicts: Sequence[Conflict]) -> str:
    """Return the conflicts of a host as one numbered text."""
    count = f"{len(conflicts)} things" if len(conflicts) > 1 else "1 thing"
    numbered = [f"{number}. {conflict.render()}" for number, conflict in enumerate(conflicts, 1)]
    first = f"Nothing was changed: {count} on {host} {'is' if len(conflicts) == 1 else 'are'} in the way."
    last = f"The safest way is another host. To use {host}, do all of this on it, then deploy again."
    return "\n".join([first, *numbered, last])
