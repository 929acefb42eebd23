# SPDX-License-Identifier: MIT
"""Check the environment of programs: the application's, and a worker's own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from .problem import Problem

RESERVED = (
    *("CELERY_APP", "CELERY_BROKER_URL", "CELERY_LOADER", "CELERY_PLATFORM", "CELERY_PLATFORM_RESULTS"),
    "CELERY_RELEASE",
)


def check_environment(where: str, environment: Any) -> Iterator[Problem]:
    """Check the names and values of environment variables.

    Args:
        where: the variable that holds them.
        environment: what it holds.
    """
    if not isinstance(environment, Mapping):
        yield Problem(where, repr(environment), "a mapping of names to values")
        return
    for name, value in environment.items():
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
            yield Problem(f"{where}.{name}", "this name", "letters, digits and _, no digit first")
        elif name in RESERVED:
            yield Problem(f"{where}.{name}", "set by you", "set by the platform alone", f"Remove {name}.")
        elif isinstance(value, bool) or not isinstance(value, str | int | float):
            yield Problem(f"{where}.{name}", repr(value), "a text", "Programs get text: write the value in quotes.")
        elif "\0" in str(value):
            advice = "Encode the value, for example with base64."
            yield Problem(f"{where}.{name}", "a NUL", "any other character, line ends too", advice)
