# SPDX-License-Identifier: MIT
"""What is wrong with an inventory, in words."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Args:
        variable: the variable, group or host that it is about.
        found: what was found there.
        allowed: what may be there.
        advice: what to do.
        level: 'error' stops the deployment, 'warning' is only said.
        hosts: the hosts that it is true of, empty where it is true of all.
    """

    variable: str
    found: str
    allowed: str
    advice: str = ""
    level: str = "error"
    hosts: tuple[str, ...] = ()

    def render(self) -> str:
        """Return the problem as lines of text."""
        where = f" ({', '.join(self.hosts)})" if self.hosts else ""
        lines = [f"{self.variable}{where}", f"   found:   {self.found}", f"   allowed: {self.allowed}"]
        return "\n".join([*lines, f"   do:      {self.advice}"] if self.advice else lines)


def render(problems: Sequence[Problem]) -> str:
    """Return problems as one numbered text."""
    count = f"{len(problems)} problems" if len(problems) > 1 else "1 problem"
    numbered = "\n".join(f"{number}. {problem.render()}" for number, problem in enumerate(problems, 1))
    return f"Nothing was changed: the inventory has {count}.\n{numbered}"


def nearest(word: str, words: Iterable[str]) -> str:
    """Return the one of `words` that `word` is most likely a misspelling of; empty where none is near."""
    return next(iter(difflib.get_close_matches(word, list(words), 1, 0.6)), "")


def suggest(word: str, words: Iterable[str], otherwise: str = "") -> str:
    """Return 'Did you mean …?' for the nearest of `words`, or the other advice."""
    near = nearest(word, words)
    return f"Did you mean {near}?" if near else otherwise
