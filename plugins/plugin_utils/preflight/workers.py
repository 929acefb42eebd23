# SPDX-License-Identifier: MIT
"""Check the entries of celery_workers, and that no two make one program."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from .environment import check_environment
from .limits import check_worker_limits
from .problem import Problem, suggest
from .queues import check_queue_names
from .values import WHOLE, Kind, Variables, choice, is_whole, list_of, matches

Worker = Mapping[str, Any]

POOLS = ("prefork", "threads", "gevent", "eventlet", "solo")
PREFORK_ONLY = ("autoscale", "time_limit", "soft_time_limit", "max_tasks_per_child", "max_memory_per_child")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "FATAL")
KEYS = (
    *("name", "queues", "pool", "concurrency", "autoscale", "prefetch_multiplier", "time_limit", "soft_time_limit"),
    *("stop_wait", "max_tasks_per_child", "max_memory_per_child", "loglevel", "environment", "arguments", "hosts"),
)
# Options of `celery worker` that have a key, through which preflight and health know of them.
OPTIONS = {
    f"--{key.replace('_', '-')}": key for key in KEYS if key not in ("name", "environment", "arguments", "hosts")
}
OPTIONS |= {"-Q": "queues", "-P": "pool", "-c": "concurrency", "-l": "loglevel", "-n": "name", "--hostname": "name"}

POOL = choice(POOLS)
NAME = Kind(
    "lower-case letters, digits and hyphens, 32 at most",
    matches(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?"),
    lambda *_: "The name becomes part of a program's name (celery-<name>).",
)
ARGUMENTS = Kind("a list of texts, such as ['--without-gossip']", list_of(lambda item: isinstance(item, str)))
# What a key may be. A key that is left out, or null, is not judged.
KINDS: dict[str, Kind] = {
    "prefetch_multiplier": WHOLE,
    "max_tasks_per_child": WHOLE,
    "max_memory_per_child": WHOLE,
    "stop_wait": WHOLE,
    "concurrency": Kind("a whole number of at least 1, or auto", lambda value: value == "auto" or is_whole(value)),
    "loglevel": Kind(
        ", ".join(LOG_LEVELS),
        lambda value: str(value).upper() in LOG_LEVELS,
        lambda _, value: suggest(str(value).upper(), LOG_LEVELS),
    ),
    "hosts": Kind("a list of hosts or groups", list_of(lambda item: isinstance(item, str))),
}


def entries(variables: Variables) -> list[Worker]:
    """Return the entries of celery_workers that are mappings."""
    workers = variables.get("celery_workers")
    return [item for item in workers if isinstance(item, Mapping)] if isinstance(workers, list) else []


def check_workers(variables: Variables) -> Iterator[Problem]:
    """Check each entry of celery_workers, and that no two make one program."""
    workers = variables.get("celery_workers")
    if not isinstance(workers, list) or not workers:
        allowed = "a list with at least one worker: [{name: celery, queues: [celery]}]"
        yield Problem("celery_workers", repr(workers), allowed)
        return
    first: dict[str, int] = {}
    for number, worker in enumerate(workers, 1):
        if not isinstance(worker, Mapping):
            yield Problem(f"celery_workers, entry {number}", repr(worker), "a mapping with name and queues")
            continue
        name = worker.get("name")
        wrong = list(NAME.refuse(f"celery_workers, entry {number}: name", name))
        yield from wrong or _check_program(str(name), number, first)
        yield from _check_worker(f"celery_workers: {name or f'entry {number}'}", worker, variables)


def _check_program(name: str, number: int, first: dict[str, int]) -> Iterator[Problem]:
    """Check that an entry's program has a name of its own.

    Args:
        name: the entry's name.
        number: its place in the list, from 1.
        first: the first entry of each name; this one is added.
    """
    program = "celery" if name == "celery" else f"celery-{name}"
    if first.setdefault(name, number) != number:
        found = f"two workers named {name} (entries {first[name]} and {number}), so two programs {program}"
        yield Problem("celery_workers", found, "each name once", "Rename one of them.")


def _check_worker(where: str, worker: Worker, variables: Variables) -> Iterator[Problem]:
    """Check one entry."""
    for key in worker:
        if key not in KEYS:
            advice = suggest(str(key), KEYS, f"Remove {key}.")
            yield Problem(f"{where}: {key}", "an unknown key", ", ".join(KEYS), advice)
    for key, kind in KINDS.items():
        if worker.get(key) is not None:
            yield from kind.refuse(f"{where}: {key}", worker[key])
    yield from check_queue_names(f"{where}: queues", worker.get("queues"))
    yield from _check_pool(where, worker)
    yield from _check_autoscale(where, worker, variables)
    yield from check_worker_limits(where, worker, variables)
    yield from check_environment(f"{where}: environment", worker.get("environment") or {})
    yield from _check_arguments(f"{where}: arguments", worker.get("arguments") or [])


def _check_pool(where: str, worker: Worker) -> Iterator[Problem]:
    """Check an entry's pool, and that the pool can do what other keys ask for."""
    pool = worker.get("pool", "prefork")
    yield from POOL.refuse(f"{where}: pool", pool)
    concurrency = worker.get("concurrency")
    if pool == "solo" and KINDS["concurrency"].fits(concurrency) and concurrency != 1:
        found = f"{concurrency} with pool solo"
        advice = "Remove concurrency, or add workers."
        yield Problem(f"{where}: concurrency", found, "1: solo runs one task at a time", advice)
    for key in PREFORK_ONLY if pool in POOLS and pool != "prefork" else ():
        if worker.get(key) is not None:
            allowed = "only with pool prefork: other pools do not enforce it"
            yield Problem(f"{where}: {key}", f"set with pool {pool}", allowed, f"Remove {key}, or set pool: prefork.")


def _check_autoscale(where: str, worker: Worker, variables: Variables) -> Iterator[Problem]:
    """Check an entry's bounds of concurrency."""
    autoscale = worker.get("autoscale")
    if autoscale is None:
        return
    match = re.fullmatch(r"(\d+),(\d+)", str(autoscale))
    if not match or int(match[1]) < int(match[2]) or int(match[1]) < 1:
        yield Problem(f"{where}: autoscale", repr(autoscale), "'MAX,MIN', such as '8,2', the larger first")
    if worker.get("concurrency") is not None:
        allowed = "either autoscale or concurrency"
        yield Problem(f"{where}: autoscale", "set beside concurrency", allowed, "Remove one of the two.")
    if variables.get("celery_broker") == "rabbitmq":
        yield Problem(
            f"{where}: autoscale",
            "set with celery_broker: rabbitmq",
            "concurrency: Celery cannot autoscale on quorum queues",
            "Set concurrency instead, or add workers.",
        )


def _check_arguments(where: str, arguments: Any) -> Iterator[Problem]:
    """Check an entry's further arguments of `celery worker`."""
    wrong = list(ARGUMENTS.refuse(where, arguments))
    yield from wrong
    for argument in [] if wrong else arguments:
        option = argument.split("=")[0]
        if option in OPTIONS:
            yield Problem(where, argument, "options that have no key of their own", f"Use the key {OPTIONS[option]}.")
        elif re.search(r"\s[;#]|[\n\r'\"]", argument):
            yield Problem(where, repr(argument), "texts without quotes, line ends and comments")
