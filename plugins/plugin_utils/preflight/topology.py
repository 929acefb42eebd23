# SPDX-License-Identifier: MIT
"""Check the groups and what each needs, the names of --limit, the hosts, and where workers are placed."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..elsewhere import elsewhere
from ..topology import GROUPS, SWITCHES
from .problem import Problem, nearest, suggest
from .values import Variables

Groups = Mapping[str, Sequence[str]]

# What is gathered of a host: the fact that says so, how the host is described, and the descriptions that are allowed.
HOSTS = (
    ("distribution", "{distribution} {distribution_major_version}", ("Debian 12", "Debian 13")),
    ("architecture", "architecture {architecture}", ("architecture x86_64", "architecture aarch64")),
    ("service_mgr", "{service_mgr} as its init", ("systemd as its init",)),
)


def check_groups(groups: Groups, variables: Variables, user: Iterable[str]) -> Iterator[Problem]:
    """Check which hosts run what.

    Args:
        groups: hosts by group. A group that is left out, or has no host, is a part that does not run.
        variables: a host's variables.
        user: the variables that the user set. A part that the user switched on needs a host.
    """
    # the group, how many hosts at least and at most, and what else can be done
    wanted: list[tuple[str, int, int | None, str]] = [
        ("brokers", 1, 1, ", or set celery_broker_url to a broker that exists"),
        ("results", 1, 1, ", or set celery_result_url to a Redis that exists"),
        ("workers", 1, None, ""),
    ]
    asked = set(user)
    for name, switch in SWITCHES.items():
        enabled = variables.get(switch) is True
        most = None if name in ("web", "monitoring") else 1
        wanted.append((name, int(enabled and switch in asked), most, f", or set {switch}: false" if enabled else ""))
    wanted.append(("proxy", 0, None, ""))
    given = elsewhere(variables)  # the check of the addresses says where a group has hosts too
    for name, least, most, otherwise in wanted:
        if name not in given:
            yield from _check_group(name, groups, least, most, otherwise)


def _check_group(name: str, groups: Groups, least: int, most: int | None, otherwise: str) -> Iterator[Problem]:
    """Check how many hosts a group has.

    Args:
        name: the group.
        groups: hosts by group.
        least: how many hosts the group needs.
        most: how many hosts it may have; None for any number.
        otherwise: what else can be done, as the end of a sentence.
    """
    hosts = list(groups.get(name, []))
    others = [
        other for other, members in groups.items() if members and other not in (*GROUPS, "all", "ungrouped", "lab")
    ]
    near = nearest(name, others) if not hosts else ""
    if len(hosts) < least or (most is not None and len(hosts) > most):
        allowed = "exactly one host" if least == most else "at least one host" if least else "at most one host"
        found = f"{len(hosts)} hosts ({', '.join(hosts)})" if hosts else "no host"
        change = f"Leave one host in {name}{otherwise}." if hosts else f"List a host under {name}{otherwise}."
        yield Problem(f"group {name}", found, allowed, f"Did you mean {near}? {change}" if near else change)
    elif near:
        yield Problem(
            f"group {near}",
            f"a group that the platform does not know, and no host in the group {name}",
            ", ".join(GROUPS),
            f"Did you mean {name}? Then rename the group: what the group {name} is for does not run without hosts.",
            "warning",
        )


def check_limit(patterns: Iterable[str], groups: Groups) -> Iterator[Problem]:
    """Check that each name in --limit exists: Ansible itself skips one that does not.

    Args:
        patterns: what --limit names; patterns with wildcards, regular expressions and files are not judged.
        groups: hosts by group, with the group all.
    """
    known = {*groups, *groups.get("all", []), "localhost"}
    for pattern in patterns:
        name = pattern.lstrip("&!")
        if not re.search(r"[~*?\[@]", name) and name not in known:
            advice = suggest(name, sorted(known), "Correct the name.")
            yield Problem("LIMIT= (--limit)", name, "hosts and groups of the inventory", advice)


def check_host(host: str, facts: Mapping[str, Any]) -> Iterator[Problem]:
    """Check what was gathered of a host; what was not gathered is not judged."""
    for fact, description, allowed in HOSTS:
        if facts.get(fact) is not None:
            found = description.format_map(defaultdict(str, facts))
            if found not in allowed:
                advice = "Remove the host from the inventory, or put such a host in its place."
                yield Problem(f"host {host}", found, " or ".join(allowed), advice)


CLOCK_WARNING, CLOCK_ERROR = 120, 600  # seconds. To gather the facts of many hosts takes a while, too


def check_clock(host: str, facts: Mapping[str, Any], now: float) -> Iterator[Problem]:
    """Check a host's clock against the controller's.

    Args:
        host: the host.
        facts: what was gathered of it; ``date_time`` says what its clock said then.
        now: seconds since 1970, by the controller's clock.
    """
    said = (facts.get("date_time") or {}).get("epoch")
    off = float(said) - now if said else 0.0
    if abs(off) <= CLOCK_WARNING:
        return
    yield Problem(
        f"host {host}",
        f"a clock that is {abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} the controller's",
        f"at most {CLOCK_WARNING} s",
        "Synchronise both (Debian's package systemd-timesyncd or chrony). Until then tasks with an ETA or an expiry "
        "run at the wrong time.",
        "error" if abs(off) > CLOCK_ERROR else "warning",
    )


def is_placed(worker: Mapping[str, Any], host: str, groups: Groups) -> bool:
    """Tell whether a worker runs on a host of the group workers."""
    places = worker.get("hosts")
    return not isinstance(places, list) or any(place == host or host in groups.get(place, ()) for place in places)


def check_places(worker: Mapping[str, Any], hosts: Mapping[str, Any], groups: Groups) -> Iterator[Problem]:
    """Check that the hosts and groups that a worker is placed on exist.

    Args:
        worker: an entry of celery_workers.
        hosts: those of the platform, by name.
        groups: hosts by group.
    """
    places = worker.get("hosts")
    for place in places if isinstance(places, list) else []:
        if place not in hosts and place not in groups:
            advice = suggest(str(place), [*hosts, *groups], "Correct the name.")
            where = f"celery_workers: {worker.get('name')}: hosts"
            yield Problem(where, str(place), "hosts and groups of the inventory", advice)
