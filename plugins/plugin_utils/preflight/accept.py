# SPDX-License-Identifier: MIT
"""Check celery_accept, and leave out the warnings that it names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.weaknesses import ACCEPTABLE, VARIABLES

from .problem import Problem, suggest
from .values import Kind, Variables, is_text, list_of

NAMES = Kind("a list of names, such as [task_acks_late]", list_of(is_text))


def check_accept(variables: Variables) -> Iterator[Problem]:
    """Check that each name in celery_accept exists."""
    accepted = variables.get("celery_accept", [])
    wrong = list(NAMES.refuse("celery_accept", accepted))
    yield from wrong
    for name in [] if wrong else accepted:
        if name not in ACCEPTABLE:
            advice = suggest(name, ACCEPTABLE, f"Remove {name}.")
            yield Problem("celery_accept", name, ", ".join(ACCEPTABLE), advice)


def is_accepted(problem: Problem, accepted: Any) -> bool:
    """Tell whether a problem is a warning that celery_accept names."""
    names: Iterable[str] = accepted if isinstance(accepted, list) else ()
    return problem.level != "error" and problem.variable in VARIABLES and problem.variable in names
