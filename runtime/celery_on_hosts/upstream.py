"""Guards for what the runtime replaces, or reaches into, inside Celery, kombu, billiard and amqp.

``couplings`` has the table. With a version that the runtime was tested with a coupling is made as it is. With any other
version it is made only where everything that it needs is there, by name and by signature. Where something is missing,
Celery stays as it is and ``left_out`` says so, for the worker's log, ``celery-health`` and the check of a release; or,
without a coupling that the platform's promise rests on, the process refuses to start.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import CodeType
from typing import Any, Literal

from .platform_file import PlatformError

# The platform refuses a Celery before this.
OLDEST_CELERY = "5.3"

# The runtime's tests pass with these (`make versions`), but for the tests of what only a later Celery does.
TESTED: Mapping[str, tuple[str, ...]] = {
    "celery": ("5.3.0", "5.3.6", "5.4.0", "5.5.3", "5.6.3", "5.7.0"),
    "kombu": ("5.3.0", "5.4.2", "5.5.4", "5.6.2", "5.7.0"),
    "billiard": ("4.1.0", "4.3.2"),
    "amqp": ("5.1.1", "5.4.2"),
}

logger = logging.getLogger(__name__)

# Why each coupling that was asked for could not be made in this process, by the coupling's name.
left_out: dict[str, str] = {}

_MARK = "_celery_on_hosts_replaces"


class UnknownUpstream(PlatformError):
    """A required coupling cannot be made with the installed versions; the message says what to do."""


@dataclass(frozen=True)
class Need:
    """A part of a library that a coupling relies on.

    Args:
        path: ``module:attribute.of.attribute``.
        takes: the function's parameters begin with these, by their names; None: any.
        uses: names that the function's code mentions, such as the attributes that it sets.
        since: the first version of the library that has the part. An older one needs no change there.
        until: the first version of the library that needs no change there, though it may have the part.
    """

    path: str
    takes: tuple[str, ...] | None = None
    uses: tuple[str, ...] = ()
    since: str = ""
    until: str = ""

    @property
    def library(self) -> str:
        """The library that has the part."""
        return self.path.partition(".")[0].partition(":")[0]

    def lacking(self) -> str:
        """Say what is missing in the installed library; empty where nothing is."""
        if self.since and is_before(self.library, self.since):
            return ""
        if self.until and not is_before(self.library, self.until):
            return ""
        module, _, attributes = self.path.partition(":")
        try:
            found: Any = importlib.import_module(module)
            for attribute in attributes.split("."):
                found = getattr(found, attribute)
        except (ImportError, AttributeError):
            return f"there is no {self.path}"
        if self.takes is not None:
            parameters = tuple(inspect.signature(found).parameters)
            if parameters[: len(self.takes)] != self.takes:
                return f"{self.path} takes ({', '.join(parameters)}), not ({', '.join(self.takes)}, …)"
        missing = sorted({*self.uses} - {*_mentioned(found)})
        return f"{self.path} knows no {', '.join(missing)}" if missing else ""


@dataclass(frozen=True)
class Coupling:
    """Something that the runtime replaces in a library, or reaches into.

    Args:
        name: what it does, in a few words.
        module: the module of the runtime that does it.
        why: what goes wrong without it.
        needs: what it relies on.
        retired_by: what makes it superfluous: a change of the library, with its issue where there is one.
        required: refuse to run without it, because the platform's promise rests on it.
        broker: the only broker that needs it; empty: each.
    """

    name: str
    module: str
    why: str
    needs: tuple[Need, ...]
    retired_by: str
    required: bool = False
    broker: Literal["", "rabbitmq", "redis"] = ""

    def obstacle(self) -> str:
        """Say why the coupling cannot be made with the installed versions, and what to do; empty where it can."""
        untested = {need.library for need in self.needs if not is_tested(need.library)}
        missing = [text for need in self.needs if need.library in untested and (text := need.lacking())]
        if not missing:
            return ""
        versions = ", ".join(f"{library} {version(library)}" for library in sorted(untested))
        tested = "; ".join(f"{library} {' or '.join(TESTED[library])}" for library in sorted(untested))
        return (
            f"{self.name}: not with {versions}, where {'; '.join(missing)}. Without it {self.why}. "
            f"Lock a version that was tested ({tested}), or deploy with a newer celery_on_hosts."
        )

    def fits(self) -> bool:
        """Return whether the coupling can be made, and remember why not.

        Raises:
            UnknownUpstream: it cannot be made, and is required.
        """
        obstacle = self.obstacle()
        if not obstacle:
            return True
        if self.required:
            raise UnknownUpstream(obstacle)
        left_out[self.name] = obstacle
        return False


def is_tested(library: str) -> bool:
    """Return whether the runtime was tested with the installed version of a library."""
    return version(library) in TESTED[library]


def is_before(library: str, number: str) -> bool:
    """Return whether the installed version of a library is older than another."""
    return _numbers(version(library)) < _numbers(number)


def version(library: str) -> str:
    """Return the version of a library that is installed."""
    return str(getattr(importlib.import_module(library), "__version__", "of no known number"))


def warn_of_left_out(**_: Any) -> None:
    """Log what this process leaves out."""
    for text in left_out.values():
        logger.warning("%s", text)


def replace(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    """Replace an attribute of a class or module by what ``make`` makes of it. Idempotent.

    Args:
        owner: the class or module.
        name: of the attribute.
        make: gets the original, None where there is none, and returns a new function.
    """
    original = getattr(owner, name, None)
    if not hasattr(original, _MARK):
        replacement = make(original)
        setattr(replacement, _MARK, original)
        setattr(owner, name, replacement)


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:3]]


def _mentioned(function: Any) -> Iterator[str]:
    """Yield each name in a function's code, with those of the functions inside."""
    code = getattr(inspect.unwrap(function), "__code__", None) if callable(function) else None
    pending = [code] if code else []
    while pending:
        code = pending.pop()
        yield from (*code.co_names, *code.co_varnames, *code.co_freevars, *code.co_cellvars)
        yield from (constant for constant in code.co_consts if isinstance(constant, str))
        pending += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
