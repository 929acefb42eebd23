# SPDX-License-Identifier: MIT
"""Check what decides between the platform's choice and the application's own: result store, beat's scheduler."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ..settings import RESULT_CHOICES
from .problem import Problem, suggest
from .values import DOTTED, Kind, Variables, matches

# The stores that have a name: Celery's (celery.app.backends.BACKEND_ALIASES), and those of django-celery-results.
STORES = (
    *("arangodb", "azureblockblob", "cache", "cassandra", "consul", "cosmosdbsql", "couchbase", "couchdb", "database"),
    *("disabled", "django-cache", "django-db", "dynamodb", "elasticsearch", "file", "gs", "mongodb", "redis", "rpc"),
    "s3",
)
ALLOWED_RESULTS = (
    f"{', '.join(RESULT_CHOICES)}, or a store: disabled, rpc, django-db, an address such as db+postgresql://…"
)
SCHEDULER = Kind(
    "empty, a class such as django_celery_beat.schedulers:DatabaseScheduler, or a name that its package gives",
    matches(rf"|{DOTTED}(:[A-Za-z_]\w*)?"),
    lambda *_: "Write what follows --scheduler in the command that starts beat elsewhere.",
)


def check_choices(variables: Variables) -> Iterator[Problem]:
    """Check celery_result_backend and celery_beat_scheduler."""
    yield from _check_results(variables.get("celery_result_backend", "auto"))
    yield from SCHEDULER.refuse("celery_beat_scheduler", variables.get("celery_beat_scheduler", ""))


def _check_results(value: Any) -> Iterator[Problem]:
    """Check celery_result_backend; an address may hold a password, and is not printed."""
    name = "celery_result_backend"
    if not isinstance(value, str):
        yield Problem(name, type(value).__name__, ALLOWED_RESULTS)
    elif re.search(r"[\s'\"]", value):
        yield Problem(name, "spaces or quotes", ALLOWED_RESULTS, "Encode them in an address: %20, %27, %22.")
    elif "://" not in value and "." not in value and value not in (*RESULT_CHOICES, *STORES):
        yield Problem(name, repr(value), ALLOWED_RESULTS, suggest(value, (*RESULT_CHOICES, *STORES)))
