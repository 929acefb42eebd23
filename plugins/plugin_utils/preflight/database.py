# SPDX-License-Identifier: MIT
"""Check what the inventory says of the database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..database import CONTRIB, NOT_IN_DEBIAN_12, PACKAGED
from .problem import Problem, nearest
from .values import Kind, list_of, matches

SCHEME = Kind(
    "the scheme that the application wants in DATABASE_URL, such as postgresql+psycopg, postgres or postgis",
    matches(r"[a-z][a-z0-9_]*(\+[a-z][a-z0-9_]*)?"),
    lambda _, value: "Leave out :// and what follows." if ":" in str(value) else "",
)
EXTENSIONS = Kind("a list of names, such as [pg_trgm, hstore]", list_of(lambda item: isinstance(item, str)))


def check_database(
    variables: Mapping[str, Any], user: Iterable[str] = (), facts: Mapping[str, Any] | None = None, runs: bool = True
) -> Iterator[Problem]:
    """Check the database's variables.

    Args:
        variables: a host's variables.
        user: the variables that the user set.
        facts: what was gathered of the host.
        runs: whether the host runs the database.
    """
    set_by_user = set(user)
    if "celery_database_login" in set_by_user:
        advice = (
            "Remove it. Refer to it, such as {{ celery_database_login }}: it changes with celery_database_password."
        )
        yield Problem("celery_database_login", "set by you", "the name that the platform makes", advice)
    scheme, extensions = variables.get("celery_database_scheme"), variables.get("celery_database_extensions")
    if scheme is not None:
        yield from SCHEME.refuse("celery_database_scheme", scheme)
    if variables.get("celery_database_url"):
        for name in ("celery_database_scheme", "celery_database_extensions"):
            if name in set_by_user:
                found = "set beside celery_database_url"
                advice = "Remove it: the scheme is the address's, and extensions are for that database's owner to make."
                yield Problem(name, found, "only for the database of the platform", advice)
    if extensions is None:
        return
    wrong = list(EXTENSIONS.refuse("celery_database_extensions", extensions))
    yield from wrong
    for name in () if wrong else extensions:
        yield from _check_extension(name, str((facts or {}).get("distribution_major_version", "")), runs)


def _check_extension(name: str, debian: str, runs: bool) -> Iterator[Problem]:
    variable, known = "celery_database_extensions", [*CONTRIB, *PACKAGED]
    if name not in known:
        near = nearest(name, known)
        advice = (
            f"Did you mean {near}?" if near else "Install its package and run CREATE EXTENSION by hand, and remove it."
        )
        yield Problem(variable, name, f"extensions of Debian's packages: {', '.join(sorted(known))}", advice)
    elif runs and debian == "12" and name in NOT_IN_DEBIAN_12:
        yield Problem(variable, f"{name}, which Debian 12 does not have", "Debian 13", "Run the database on Debian 13.")
