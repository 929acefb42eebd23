# SPDX-License-Identifier: MIT
"""Check a whole platform, and report each problem once with the hosts that have it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from ..elsewhere import URLS
from ..topology import SWITCHES
from .accept import check_accept, is_accepted
from .application import check_application, check_source
from .choices import check_choices
from .database import check_database
from .elsewhere import check_elsewhere
from .files import check_files
from .limits import check_chain
from .passwords import check_passwords
from .problem import Problem, suggest
from .queues import check_queues
from .topology import check_clock, check_groups, check_host, check_limit, check_places, is_placed
from .values import Variables, check_values
from .web import check_origins, check_web
from .web import check_places as check_file_places
from .workers import check_workers, entries

SAME_EVERYWHERE = (
    "celery_app_extras",
    *("celery_accept", "celery_app", "celery_app_include", "celery_app_lock", "celery_app_source"),
    *("celery_beat_enabled", "celery_beat_scheduler", "celery_broker", "celery_database_enabled"),
    "celery_result_backend",
    "celery_cache_enabled",
    *("celery_flower_enabled", "celery_message_signing", "celery_queues", "celery_redis_transport", "celery_release"),
    *("celery_serial", "celery_web_enabled", "celery_app_state", "celery_web_static"),
)


def check(platform: Mapping[str, Any]) -> list[Problem]:
    """Return all problems of a platform, errors first.

    Args:
        platform: `groups` (hosts by group), `limit` (the patterns of --limit), `known` (names of variables), `sources`
            (see check_source), `unreadable` (see check_files), and `hosts`, a mapping by name of `vars` (values),
            `user` (names that the user set), `facts` (without ansible_), `errors` (what could not be evaluated, by
            variable), and `now`, the time by the controller's clock in seconds since 1970; clocks are not judged
            without.
    """
    hosts: Mapping[str, Mapping[str, Any]] = platform.get("hosts", {})
    found: dict[Problem, list[str]] = {}
    for host, problem in chain(_of_platform(platform), _of_hosts(platform)):
        where = found.setdefault(problem, [])
        if host and host not in where:
            where.append(host)
    problems = [
        replace(problem, hosts=tuple(sorted(where)) if 0 < len(where) < len(hosts) else ())
        for problem, where in found.items()
    ]
    return sorted(problems, key=lambda problem: problem.level != "error")


def _of_platform(platform: Mapping[str, Any]) -> Iterator[tuple[str, Problem]]:
    """Yield each problem of the groups and machines, with no host: the problem itself names what it is about."""
    groups, hosts = platform.get("groups", {}), platform.get("hosts", {})
    first: Mapping[str, Any] = next(iter(hosts.values()), {})
    for problems in (
        check_groups(groups, first.get("vars", {}), first.get("user", ())),
        check_limit(platform.get("limit", ()), groups),
        check_agreement(hosts),
        check_file_places(groups, first.get("vars", {})),
        check_origins(groups, hosts),
        *(check_host(host, state.get("facts", {})) for host, state in hosts.items()),
        *(
            check_clock(host, state.get("facts", {}), platform["now"])
            for host, state in hosts.items()
            if "now" in platform
        ),
    ):
        yield from (("", problem) for problem in problems)


def _of_hosts(platform: Mapping[str, Any]) -> Iterator[tuple[str, Problem]]:
    """Yield each problem of the hosts' variables, with the host."""
    groups, hosts = platform.get("groups", {}), platform.get("hosts", {})
    readers = [
        worker
        for host in groups.get("workers", [])
        for worker in entries(hosts.get(host, {}).get("vars", {}))
        if is_placed(worker, host, groups)
    ]
    left_out = {switch for group, switch in SWITCHES.items() if not groups.get(group)}
    for host, state in hosts.items():
        values: Variables = state.get("vars", {})
        variables = {name: False if value is True and name in left_out else value for name, value in values.items()}
        user = set(state.get("user", ()))
        for problems in (
            check_values(variables),
            check_passwords(variables),
            check_database(variables, user, state.get("facts"), host in groups.get("database", ())),
            check_elsewhere(variables, groups, sorted(user)),
            check_accept(variables),
            check_application(variables),
            check_choices(variables),
            check_web(variables),
            check_chain(variables),
            check_workers(variables) if host in groups.get("workers", []) else (),
            check_source(variables, platform.get("sources", {})),
            check_files(variables, platform.get("unreadable", {})),
            check_queues(variables, readers, "celery_queues" in user),
            check_names(user, platform.get("known", ())),
            check_evaluated(state.get("errors", {})),
            *(check_places(worker, hosts, groups) for worker in entries(variables)),
        ):
            accepted = variables.get("celery_accept")
            yield from ((host, problem) for problem in problems if not is_accepted(problem, accepted))


def check_agreement(hosts: Mapping[str, Mapping[str, Any]]) -> Iterator[Problem]:
    """Check that hosts agree in what the whole platform has once."""
    for name in URLS.values():
        if len({str(state.get("vars", {}).get(name) or "") for state in hosts.values()}) > 1:
            yield Problem(name, "more than one address", "one value for all hosts", "Set it in group_vars/all.")
    for name in SAME_EVERYWHERE:
        values = {repr(state.get("vars", {}).get(name)) for state in hosts.values()}
        if len(values) > 1:
            yield Problem(name, " and ".join(sorted(values)), "one value for all hosts", "Set it in group_vars/all.")


def check_names(user: Iterable[str], known: Sequence[str]) -> Iterator[Problem]:
    """Check that each celery_… variable that the user set exists.

    Args:
        user: the names of the user's variables.
        known: the names of all variables; where there are none, nothing is judged.
    """
    for name in sorted(user):
        if known and name.startswith("celery_") and name not in known:
            advice = suggest(name, known, f"Remove {name}.")
            yield Problem(name, "a variable that does not exist", "see docs/variables.md", advice)


def check_evaluated(errors: Mapping[str, Any]) -> Iterator[Problem]:
    """Check that each variable could be evaluated.

    Args:
        errors: by variable, why it could not.
    """
    for name, why in errors.items():
        yield Problem(name, str(why), "a value that can be evaluated")
