# SPDX-License-Identifier: MIT
"""Record which Debian packages the platform installed, and find those of them that nobody else needs.

The record is one JSON file: `asked`, the packages that the platform wants; `installed`, all that came with them;
`before`, what was installed when an installation began whose end is not recorded yet, else null.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.module_utils import atomic

# Ansible's own module installs it where it is missing.
ANSIBLES = "python3-apt"
_FIELDS = ("${db:Status-Status}", "${Package}", "${Provides}", "${Pre-Depends}, ${Depends}")


@dataclass(frozen=True)
class Package:
    """An installed package.

    Args:
        provides: the names that others may depend on, its own included.
        needs: for each dependency, the names of which one is enough.
    """

    provides: frozenset[str]
    needs: tuple[frozenset[str], ...]


def parse(said: str) -> dict[str, Package]:
    """Return the installed packages by name.

    Args:
        said: a line for each package, with the fields of `query`.
    """
    found = {}
    for line in said.splitlines():
        status, name, provides, needs = line.split("\t")
        if status == "installed":
            groups = tuple(frozenset(_names(group, "|")) for group in needs.split(",") if group.strip())
            found[name] = Package(frozenset({name, *_names(provides, ",")}), groups)
    return found


def _names(text: str, separator: str) -> list[str]:
    """Return the names in a list of dependencies, without versions and architectures."""
    return [re.split(r"[\s(:]", one.strip())[0] for one in text.split(separator) if one.strip()]


def query() -> dict[str, Package]:
    """Return the packages that are installed on this host."""
    command = ["dpkg-query", "--show", "--showformat", "\\t".join(_FIELDS) + "\\n"]
    return parse(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def closure(packages: Mapping[str, Package], roots: Iterable[str]) -> set[str]:
    """Return some packages, or those that provide them, and all that they need, as far as they are installed."""
    found: set[str] = set()
    asked = frozenset(roots)
    waiting = [name for name, package in packages.items() if package.provides & asked]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        wanted = frozenset().union(*packages[name].needs)
        waiting += [other for other, package in packages.items() if package.provides & wanted]
    return found


def unneeded(packages: Mapping[str, Package], candidates: Iterable[str]) -> list[str]:
    """Return those of some packages that no other installed package needs, sorted.

    Args:
        packages: the installed packages.
        candidates: those that may go. Packages that only other candidates need go, too.
    """
    gone = set(candidates) & packages.keys()
    while True:
        left = frozenset().union(*(package.provides for name, package in packages.items() if name not in gone))
        # A dependency that had its package before, and that nothing satisfies when the candidates are gone.
        missing = [
            group
            for name, package in packages.items()
            if name not in gone
            for group in package.needs
            if not group & left
        ]
        needed = {name for name in gone if any(packages[name].provides & group for group in missing)}
        if not needed:
            return sorted(gone)
        gone -= needed


class Record:
    """Which packages the platform installed on a host.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            found = {}
        self.asked: list[str] = found.get("asked", [])
        self.installed: list[str] = found.get("installed", [])
        self.before: list[str] | None = found.get("before")

    def begin(self, wanted: Iterable[str], packages: Mapping[str, Package]) -> None:
        """Note what is installed before an installation. A note whose installation was cut off stays.

        Raises:
            OSError: the record cannot be written.
        """
        self.asked = sorted({*self.asked, *wanted})
        self.before = sorted(packages) if self.before is None else self.before
        self._write()

    def settle(self, packages: Mapping[str, Package]) -> None:
        """Add what has come since `begin` and is needed by what was asked for; others may have installed more.

        Args:
            packages: the installed packages.
        """
        if self.before is not None:
            came = closure(packages, [*self.asked, ANSIBLES]) - set(self.before)
            self.installed = sorted({*self.installed, *came})
            self.before = None

    def end(self, packages: Mapping[str, Package]) -> None:
        """Record what an installation has brought.

        Raises:
            OSError: the record cannot be written.
        """
        self.settle(packages)
        self._write()

    def _write(self) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        text = {"asked": self.asked, "installed": self.installed, "before": self.before}
        atomic.write(self.path, json.dumps(text, indent=1))
