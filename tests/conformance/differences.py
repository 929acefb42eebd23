"""What differs on purpose, and what an unlisted difference is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

LIST = Path(__file__).with_name("differences.yml")
BROKERS = ("rabbitmq", "redis")


@dataclass(frozen=True)
class Difference:
    """Something that Celery does differently on the platform, on purpose; see differences.yml."""

    title: str
    plain: str
    here: str
    why: str
    brokers: tuple[str, ...] = BROKERS
    suite: str = "celery"
    tests: tuple[str, ...] = ()
    left_out: bool = False
    proof: str = ""

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Difference:
        """Return an entry of the list.

        Raises:
            TypeError: a key is missing, or is not known.
        """
        lists = {name: tuple(entry[name]) for name in ("brokers", "tests") if name in entry}
        return cls(**{**entry, **lists})

    def covers(self, test: str) -> bool:
        """Return whether a test comes out otherwise for this reason."""
        return any(fnmatchcase(test, pattern.replace("[", "[[]")) for pattern in self.tests)


def differences(broker: str | None = None, suite: str | None = None) -> list[Difference]:
    """Return the list, or the part of it that shows with one broker, in one suite."""
    found = [Difference.of(entry) for entry in yaml.safe_load(LIST.read_text(encoding="utf-8"))]
    return [one for one in found if (broker is None or broker in one.brokers) and (suite is None or suite == one.suite)]


@dataclass(frozen=True)
class Comparison:
    """The outcomes of both sides.

    Args:
        plain: by test.
        platform: by test.
        expected: what differs on purpose.
    """

    plain: Mapping[str, str]
    platform: Mapping[str, str]
    expected: tuple[Difference, ...]

    @property
    def ran(self) -> bool:
        """Whether the suite ran at all; it proves nothing where its modules could not be imported."""
        return "passed" in self.plain.values()

    def differing(self) -> list[str]:
        """Return the tests whose outcomes differ, except those that no side could run."""
        return sorted(
            name for name in self.plain.keys() | self.platform.keys() if self.plain.get(name) != self.platform.get(name)
        )

    def on_purpose(self) -> dict[str, Difference]:
        """Return the tests that differ on purpose, each with the entry of the list."""
        found = {name: next((one for one in self.expected if one.covers(name)), None) for name in self.differing()}
        return {name: one for name, one in found.items() if one}

    def faults(self) -> list[str]:
        """Return the tests that pass with plain Celery and not here, and are in no entry of the list."""
        on_purpose = self.on_purpose()
        return [name for name in self.differing() if name not in on_purpose and self.plain.get(name) == "passed"]

    def unused(self) -> list[Difference]:
        """Return the entries that name tests of which none differs."""
        used = set(self.on_purpose().values())
        return [one for one in self.expected if one.tests and one not in used]
