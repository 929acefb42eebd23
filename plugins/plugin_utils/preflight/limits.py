# SPDX-License-Identifier: MIT
"""Check that each limit in time is longer than what it waits for, and that Redis deletes nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from .problem import Problem
from .values import Kind, Variables, is_whole

SECONDS = Kind("whole seconds, at least 1, without quotes", is_whole)


def broker_limit(variables: Variables) -> tuple[str, str]:
    """Return the variable for how long the broker waits for a task's acknowledgement, and what happens then.

    Both are empty where the broker waits for as long as a task runs.
    """
    match variables.get("celery_broker"), variables.get("celery_redis_transport"):
        case "redis", "stock":
            return "celery_redis_visibility_timeout", "a running task would be delivered to a second worker"
        case "rabbitmq", _:
            return "celery_rabbitmq_consumer_timeout", "RabbitMQ would close the worker's connection"
    return "", ""


def check_chain(variables: Variables) -> Iterator[Problem]:
    """Check that broker's limit > stop wait > time limit > soft time limit, and the memory policy of Redis."""
    broker, then = broker_limit(variables)
    for larger, smaller, why in (
        ("celery_stop_wait", "celery_time_limit", "a stop would kill tasks that are within their limit"),
        ("celery_time_limit", "celery_soft_time_limit", "the soft limit would never be reached"),
        (broker, "celery_stop_wait", then),
    ):
        high, low = variables.get(larger), variables.get(smaller)
        if is_whole(high) and is_whole(low) and high <= low:
            yield Problem(larger, f"{high} s", f"more than {smaller} ({low} s)", f"Raise {larger}: otherwise {why}.")
    memory = variables.get("redis_maxmemory")
    if memory is not None and not re.fullmatch(r"[1-9]\d?%|[1-9]\d*([kmg]b?)?", str(memory), re.IGNORECASE):
        allowed = "a share of the host's memory, such as 25%, or a figure such as 512mb or 2gb"
        yield Problem("redis_maxmemory", repr(memory), allowed, "Correct the value.")
    policy = variables.get("redis_maxmemory_policy")
    if policy is not None and policy != "noeviction":
        lost, level = ("tasks", "error") if variables.get("celery_broker") == "redis" else ("results", "warning")
        advice = f"With any other policy Redis deletes {lost} when memory runs short."
        yield Problem("redis_maxmemory_policy", repr(policy), "noeviction", advice, level)


def check_worker_limits(where: str, worker: Mapping[str, Any], variables: Variables) -> Iterator[Problem]:
    """Check a worker's own limits against each other and against what waits for them.

    Args:
        where: the entry of celery_workers.
        worker: the entry. Pools other than prefork have no limits.
        variables: a host's variables.
    """
    if worker.get("pool", "prefork") != "prefork":
        return
    for key in ("time_limit", "soft_time_limit"):
        wrong = list(SECONDS.refuse(f"{where}: {key}", worker[key])) if worker.get(key) is not None else []
        if wrong:
            yield from wrong
            return
    hard = worker.get("time_limit", variables.get("celery_time_limit"))
    soft = worker.get("soft_time_limit")
    if soft is not None and is_whole(hard) and soft >= hard:
        yield Problem(f"{where}: soft_time_limit", f"{soft} s, with a time limit of {hard} s", f"less than {hard} s")
    if worker.get("time_limit") is not None:
        yield from _check_stop(where, worker, hard, variables)


def _check_stop(where: str, worker: Mapping[str, Any], hard: int, variables: Variables) -> Iterator[Problem]:
    """Check what waits for a worker that has a time limit of its own.

    Args:
        where: the entry of celery_workers.
        worker: the entry.
        hard: its time limit in seconds.
        variables: a host's variables.
    """
    stop = worker.get("stop_wait")
    if is_whole(stop) and stop <= hard:
        yield Problem(f"{where}: stop_wait", f"{stop} s, with a time limit of {hard} s", f"more than {hard} s")
    if stop is None and is_whole(variables.get("celery_stop_wait")) and is_whole(variables.get("celery_time_limit")):
        stop = hard + variables["celery_stop_wait"] - variables["celery_time_limit"]
    name, why = broker_limit(variables)
    limit = variables.get(name)
    if is_whole(limit) and is_whole(stop) and limit <= stop:
        yield Problem(
            name,
            f"{limit} s, with a time limit of {hard} s for {where.removeprefix('celery_workers: ')}, "
            f"which may take {stop} s to stop",
            f"more than {stop} s",
            f"Raise {name}: otherwise {why}.",
        )
