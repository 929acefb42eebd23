# SPDX-License-Identifier: MIT
"""Check the application: its name, its environment, its release commands, its folder and its lock."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.celery_on_hosts.platform.runtime.celery_on_hosts.upstream import OLDEST_CELERY, TESTED
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from ..settings import platform_names
from .environment import check_environment
from .problem import Problem, suggest
from .values import DOTTED, Kind, Variables, is_text, list_of, matches
from .workers import entries

APP = Kind(
    "what `celery -A` takes, such as proj, proj.celery or proj.celery:app", matches(rf"{DOTTED}(:[A-Za-z_][\w.]*)?")
)
RELEASE = Kind(
    "new, previous, current, or an id that `make releases` shows", matches(r"new|previous|current|[0-9a-f]{12}")
)
COMMANDS = Kind("a list of commands, each a text", list_of(is_text))
INCLUDE = Kind(
    "a list of files, folders and patterns below celery_app_source, such as [dist/, .env]",
    list_of(lambda item: is_text(item) and not item.startswith(("/", "~")) and ".." not in item.split("/")),
    lambda *_: "Name them relative to celery_app_source. What is elsewhere ships by celery_files.",
)
EXTRAS = Kind(
    "a list of names of extras and dependency groups of pyproject.toml, such as [production]",
    list_of(matches(r"[A-Za-z0-9][A-Za-z0-9._-]*")),
)
LOCK = Kind(
    "the lock's path, relative to celery_app_source, such as requirements/production.txt",
    lambda value: isinstance(value, str),
)
SHELL = {"&&", "||", "|", ";", "&", ">", ">>", "<", "2>", "2>&1", "2>/dev/null", ">/dev/null"}


def check_release_commands(commands: Any) -> Iterator[Problem]:
    """Check that each release command is one command, with its quotes closed and without a shell's syntax.

    Whether the release has the program is checked when the release is built.
    """
    name = "celery_app_release_commands"
    yield from COMMANDS.refuse(name, commands)
    for command in commands if COMMANDS.fits(commands) else []:
        try:
            words = shlex.split(command)
        except ValueError as error:
            yield Problem(name, f"{command!r}: {error}", "a command whose quotes are closed")
            continue
        used = next((word for word in words if word in SHELL or word.endswith(";")), "")
        if re.match(r"[A-Za-z_]\w*=", words[0]):
            advice = f"Set {words[0].partition('=')[0]} in celery_app_environment, or write: /usr/bin/env {command}"
            yield Problem(name, f"{command!r}, which begins with a variable", "a program and its arguments", advice)
        elif used:
            advice = f"Make each command an entry of the list, or write: /bin/sh -c {shlex.quote(command)}"
            yield Problem(name, f"{command!r}, with {used} for a shell", "commands, which no shell reads", advice)


def check_application(variables: Variables) -> Iterator[Problem]:
    """Check the application's name, environment and release commands."""
    yield from APP.refuse("celery_app", variables.get("celery_app"))
    yield from RELEASE.refuse("celery_release", variables.get("celery_release", "new"))
    yield from check_release_commands(variables.get("celery_app_release_commands", []))
    yield from INCLUDE.refuse("celery_app_include", variables.get("celery_app_include", []))
    yield from EXTRAS.refuse("celery_app_extras", variables.get("celery_app_extras", []))
    yield from LOCK.refuse("celery_app_lock", variables.get("celery_app_lock", ""))
    environment = variables.get("celery_app_environment", {})
    yield from check_environment("celery_app_environment", environment)
    names = environment if isinstance(environment, Mapping) else {}
    yield from check_own_names(variables, names)
    if variables.get("celery_database_url") and "DATABASE_URL" in names:
        yield Problem(
            "celery_app_environment.DATABASE_URL",
            "set beside celery_database_url",
            "set by one of the two",
            "Remove it: the application finds celery_database_url in DATABASE_URL.",
        )
    elif variables.get("celery_database_enabled") and "DATABASE_URL" in names:
        yield Problem(
            "celery_app_environment.DATABASE_URL",
            "set by you and by the platform",
            "set by one of the two",
            "Leave the group database out, or set celery_database_enabled: false, to use a database of your own.",
        )


def check_own_names(variables: Variables, environment: Mapping[str, Any]) -> Iterator[Problem]:
    """Check the application's own names for variables of the platform.

    Args:
        variables: a host's variables.
        environment: the application's environment.
    """
    where, wanted = "celery_app_environment_from", variables.get("celery_app_environment_from", {})
    yield from check_environment(where, wanted)
    known = platform_names(variables)
    for name, source in wanted.items() if isinstance(wanted, Mapping) else ():
        if source not in known:
            advice = suggest(str(source), known)
            if source in ("CACHE_URL", "CHANNELS_URL"):
                advice = "Set celery_cache_enabled: true."
            elif str(source) == "DATABASE_URL" or str(source).startswith("PG"):
                advice = "Put a host into the group database, or set celery_database_url."
            yield Problem(f"{where}.{name}", repr(source), f"one of {', '.join(known)}", advice)
        elif name in environment or name in known:
            by = "celery_app_environment" if name in environment else "the platform"
            yield Problem(f"{where}.{name}", f"set by {by} too", "set once", f"Remove {name} from one of the two.")


def check_source(variables: Variables, sources: Mapping[str, Mapping[str, Any]]) -> Iterator[Problem]:
    """Check the application's folder and what its lock says.

    Args:
        variables: a host's variables.
        sources: by path: `exists`, `error` (why it has no usable lock), `advice`, `packages` (names, None where the
            list is not complete), `lock` (its path), `celery` (its version or bounds, empty where not known).
    """
    source, lock = variables.get("celery_app_source"), variables.get("celery_app_lock") or ""
    if not isinstance(source, str) or not source:
        yield Problem("celery_app_source", repr(source), "the path of your application's folder on this machine")
        return
    state = sources.get(source)
    if state is None:
        return
    if not state.get("exists"):
        advice = "Set celery_app_source to your application's folder."
        yield Problem("celery_app_source", f"{source}, which does not exist", "a folder on this machine", advice)
    elif state.get("error"):
        allowed = "a folder with requirements.lock, pylock.toml, uv.lock or requirements.txt"
        allowed = "the path of a lock, relative to celery_app_source" if lock else allowed
        variable = "celery_app_lock" if lock else "celery_app_source"
        yield Problem(variable, str(state["error"]), allowed, str(state.get("advice", "")))
    else:
        yield from _check_version(state)
        if state.get("packages") is not None:  # Otherwise they are known when the release is built.
            yield from _check_packages(variables, source, state["packages"])


def _check_version(state: Mapping[str, Any]) -> Iterator[Problem]:
    """Check that the lock's Celery is one that the platform can run."""
    found = str(state.get("celery") or "")
    if found and not _allows_new_enough(found):
        words = f"celery{found}" if found[0] in "<>=!~" else f"celery {found}"
        yield Problem(
            "celery_app_source",
            f"{words} in {state.get('lock')}",
            f"celery {OLDEST_CELERY} or newer (tested: {', '.join(TESTED['celery'])})",
            f"Raise celery to {OLDEST_CELERY} or newer in the application's requirements, and lock again.",
        )


def _allows_new_enough(found: str) -> bool:
    """Return whether a version, or a list of bounds, allows a Celery that the platform can run."""
    oldest = Version(OLDEST_CELERY)
    try:
        return Version(found) >= oldest
    except InvalidVersion:
        bounds = SpecifierSet(found)
    newer = (f"{oldest.major}.{minor}.{patch}" for minor in range(oldest.minor, 100) for patch in range(20))
    return any(version in bounds for version in (*newer, f"{oldest.major + 1}", f"{oldest.major + 2}"))


def _check_packages(variables: Variables, source: str, packages: list[str]) -> Iterator[Problem]:
    """Check that the lock has the packages that the platform starts."""
    if "celery" not in packages:
        advice = "Add celery to the application's requirements and lock again."
        yield Problem("celery_app_source", f"{source}, whose lock lacks celery", "a lock with celery", advice)
    for worker in entries(variables):
        pool = worker.get("pool")
        if pool in ("gevent", "eventlet") and pool not in packages:
            yield Problem(
                f"celery_workers: {worker.get('name')}: pool",
                f"{pool}, which the lock of {source} lacks",
                "a pool whose package the application brings",
                f"Add {pool} to the application's requirements and lock again, or choose threads.",
            )
