# SPDX-License-Identifier: MIT
"""What a removal consists of, and what it is made with."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.host import Host

Run = Callable[..., str]


class RemovalError(Exception):
    """A command that failed, in its own words."""


def run(*command: str) -> str:
    """Run a command and return what it prints.

    Raises:
        RemovalError: the command failed.
    """
    environment = os.environ | {"LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            env=environment,
            cwd="/",
        )
    except OSError as error:
        raise RemovalError(f"{command[0]} cannot be run: {error.strerror}") from error
    if done.returncode:
        raise RemovalError(f"`{' '.join(command)}` failed:\n{done.stdout.strip()}")
    return done.stdout


@dataclass(frozen=True)
class Step:
    """Something that goes.

    Args:
        what: what it is.
        do: removes it.
    """

    what: str
    do: Callable[[], None]


@dataclass
class Removal:
    """What a removal knows.

    Args:
        host: the host.
        data: whether data goes, too.
        installed: the packages that the platform installed.
        run: runs a command on the host.
    """

    host: Host
    data: bool
    installed: frozenset[str] = frozenset()
    run: Run = run
    goes: list[Step] = field(default_factory=list)
    stays: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, what: str, *do: Callable[[], object]) -> None:
        """Add something that goes.

        Args:
            what: what it is.
            do: what is called to remove it, in this order.
        """

        def all_of_it() -> None:
            for one in do:
                one()

        self.goes.append(Step(what, all_of_it))


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with all that is in it; nothing where there is none.

    Raises:
        OSError: it cannot be removed.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_if_empty(path: Path) -> None:
    """Remove a folder that holds nothing.

    Raises:
        OSError: it cannot be removed.
    """
    if path.is_dir() and not any(path.iterdir()):
        path.rmdir()


def present(host: Host, *names: str) -> list[Path]:
    """Return those of some paths that exist, links without a target included."""
    return [path for name in names if os.path.lexists(path := host.path(name))]
