"""The layer ``release``: every program runs the release that is current."""

from __future__ import annotations

from .. import names, processes
from ..release import release_of
from .report import Check


def current() -> str | None:
    """Return the id of the current release, or None on a host without releases."""
    try:
        return names.CURRENT_RELEASE.readlink().name
    except OSError:
        return None


def of_process(pid: int) -> str | None:
    """Return the id of the release that a process works in, or None."""
    folder = processes.working_directory(pid)
    return release_of(folder) if folder else None


def check(running: dict[str, str | None]) -> Check:
    """Compare what the programs run with the current release.

    Args:
        running: the release of each program that could be asked; None: the program runs from no release.
    """
    wanted = current()
    if not running:
        return Check("release", "current", True, wanted or "none")
    by_release: dict[str, list[str]] = {}
    for program, release in sorted(running.items()):
        by_release.setdefault(release or "no release", []).append(program)
    if len(by_release) == 1 and (wanted is None or wanted in by_release):
        return Check("release", "current", True, next(iter(by_release)))
    text = "; ".join(f"{', '.join(programs)}: {release}" for release, programs in by_release.items())
    behind = [name for release, programs in by_release.items() if release != wanted for name in programs]
    advice = f"supervisorctl restart {' '.join(behind)}"
    return Check("release", "current", False, f"{text}; current is {wanted}", "error", advice)
