# SPDX-License-Identifier: MIT
"""The releases of a host: which are there, which is current, which worked or are bad, and what each process runs.

Beside the releases, ``releases.json`` keeps what their folders cannot say: when each worked, newest last, and which are
bad and why.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REMEMBERED = 50  # entries of what worked
SETTINGS = ("environment", "*.environment", "platform.json", "signing.crt", "signing.key")


@contextlib.contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Be the only one who works in a folder, of those who ask."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@dataclass(frozen=True)
class Process:
    """A process that belongs to a release. ``program`` is supervisord's name of it, empty for a shell's."""

    pid: int
    parent: int
    started: int
    program: str
    release: str


@dataclass
class Record:
    """What is written down: ``worked`` as release and time, newest last; by release, ``bad`` as reason and time, and
    ``checked`` as the configuration with which it was checked last."""

    worked: list[dict[str, str]] = field(default_factory=list)
    bad: dict[str, dict[str, str]] = field(default_factory=dict)
    checked: dict[str, str] = field(default_factory=dict)


class Releases:
    """The releases below a root.

    Args:
        root: the folder, such as ``/opt/celery``.
        reports: the folder in which workers and beat say which release they run.
    """

    def __init__(self, root: str, reports: str = "/run/celery") -> None:
        self.root = Path(root)
        self.reports = Path(reports)
        self.folder = self.root / "releases"
        self.record = Record(**(_read(self.root / "releases.json") or {}))

    @property
    def current(self) -> str:
        """The release that is current, or nothing."""
        try:
            return (self.root / "current").readlink().name
        except OSError:
            return ""

    @property
    def worked(self) -> str:
        """The release that worked last, or nothing."""
        return self.record.worked[-1]["release"] if self.record.worked else ""

    @property
    def there(self) -> list[str]:
        """All that are unpacked, the one that worked last first, and those that never worked at the end."""
        found = _names(self.folder)
        latest = list(dict.fromkeys(entry["release"] for entry in reversed(self.record.worked)))
        return [name for name in latest if name in found] + sorted(found - set(latest))

    @property
    def previous(self) -> str:
        """The release that worked before the current one, and could again; or nothing."""
        worked = {entry["release"] for entry in self.record.worked} - {self.current} - self.record.bad.keys()
        return next((name for name in self.there if name in worked), "")

    def facts(self, name: str) -> dict[str, Any]:
        """What is known of a release."""
        times = [entry["time"] for entry in self.record.worked if entry["release"] == name]
        return {
            "release": name,
            "built_from": _read(self.folder / name / "release.json").get("built_from") or "",
            "worked": times[-1] if times else "",
            "bad": self.record.bad.get(name, {}).get("reason", ""),
            "checked": self.record.checked.get(name, ""),
        }

    # --- what runs ---------------------------------------------------------------------------------------------------

    def processes(self) -> list[Process]:
        """Each process that says, by its environment or its working folder, that it is of one of these releases.

        Its folder is asked first, for an environment may be handed on to what another release runs.
        """
        found = []
        for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
            with contextlib.suppress(OSError, ValueError):
                lines = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
                environment = dict(line.split("=", 1) for line in lines if "=" in line)
                release = self._release_of(os.readlink(f"/proc/{pid}/cwd")) or environment.get("CELERY_RELEASE", "")
                status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                if release and (self.folder / release).is_dir():
                    program = environment.get("CELERY_PROGRAM", "")
                    found.append(Process(pid, int(status[1]), int(status[19]), program, release))
        return found

    def _release_of(self, path: str) -> str:
        prefix = f"{self.folder}/"
        return path.removeprefix(prefix).split("/")[0] if path.startswith(prefix) else ""

    def programs(self, names: list[str]) -> dict[str, str]:
        """The release that each program runs, by its own report where it writes one; nothing for one that is away.

        A worker that is handed over is in it twice: its old process is called ``NAME (leaving)``.
        """
        running = self.processes()
        said: dict[str, str] = {}
        for name in names:
            own = [one for one in running if one.program == name]
            family = {one.pid for one in own}
            mains = sorted((one for one in own if one.parent not in family), key=lambda one: -one.started)
            report = _read(self.reports / f"{name}.json")
            for main, label in zip(mains, (name, f"{name} (leaving)"), strict=False):
                said[label] = report["release"] if report.get("pid") == main.pid else main.release
            said.setdefault(name, "")
        return said

    # --- what is changed ---------------------------------------------------------------------------------------------

    def switch(self, name: str) -> None:
        """Make a release current, in one step."""
        if self.current and not self.record.worked:  # of a host that was deployed before this was written down
            self._remember(self.current)
        beside = self.root / "current.new"
        beside.unlink(missing_ok=True)
        beside.symlink_to(f"releases/{name}")
        beside.rename(self.root / "current")

    def mark_checked(self, name: str, configuration: str) -> None:
        """Write down with which configuration a release was checked."""
        there = self.there
        self.record.checked = {one: with_ for one, with_ in self.record.checked.items() if one in there}
        self.record.checked[name] = configuration
        self._write()

    def mark_worked(self, name: str) -> None:
        """Write down that a release works. It is bad no more."""
        self.record.bad.pop(name, None)
        self._remember(name)

    def mark_bad(self, name: str, reason: str) -> None:
        """Write down that a release does not work, and why."""
        self.record.bad[name] = {"reason": reason, "time": _now()}
        self._write()

    def _remember(self, name: str) -> None:
        self.record.worked = [*self.record.worked, {"release": name, "time": _now()}][-REMEMBERED:]
        self._write()

    def _write(self) -> None:
        with tempfile.NamedTemporaryFile("w", dir=self.root, prefix=".new-", delete=False) as file:
            json.dump(self.record.__dict__, file, indent=1)
            os.fchmod(file.fileno(), 0o644)
        os.rename(file.name, self.root / "releases.json")

    def prunable(self, keep: int) -> list[Path]:
        """The folders of releases and packages that are of no more use.

        What stays: those that worked last, the current and the previous one, all that a process runs, and their
        packages.

        Args:
            keep: how many of those that worked stay.
        """
        worked = {entry["release"] for entry in self.record.worked}
        kept = {name for name in self.there if name in worked and (keep := keep - 1) >= 0}
        kept |= {self.current, self.previous} | {process.release for process in self.processes()}
        kept |= {_read(path).get("release", "") for path in self.reports.glob("*.json")}
        packages = {_read(self.folder / name / "release.json").get("deps_id") for name in kept & _names(self.folder)}
        gone = [self.folder / name for name in sorted(_names(self.folder) - kept)]
        if None not in packages:  # a release that does not say what it needs may need any of them
            gone += [self.root / "deps" / name for name in sorted(_names(self.root / "deps") - packages)]
        return gone

    def remove(self, folders: list[Path]) -> None:
        """Remove folders; one that is interrupted leaves none that looks whole."""
        for folder in folders:
            with locked(folder.parent):
                beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".new-"))  # as leftovers of unpacking
                folder.rename(beside / folder.name)
                shutil.rmtree(beside, ignore_errors=True)


class Before:
    """What was there before something that has not proved itself yet: settings, and programs' files.

    Args:
        root: the folder of :class:`Releases`; they are kept in its folder ``before``, for root alone.
        settings: the folder of what programs read when they start, such as ``/etc/celery``.
    """

    def __init__(self, root: str, settings: str) -> None:
        self.folder = Path(root) / "before"
        self.settings = Path(settings)

    @property
    def kept(self) -> bool:
        """Whether anything is kept."""
        return self.folder.is_dir()

    @property
    def programs(self) -> str:
        """The programs' files that supervisor_programs kept, as one text without their first lines; empty for none."""
        files = sorted((self.folder / "programs").glob("*.conf"))
        return "".join(path.read_text(encoding="utf-8").partition("\n")[2] for path in files)

    def keep(self) -> None:
        """Keep the settings, whole or not at all; those that are kept already stay."""
        kept, beside = self.folder / "settings", self.folder / "settings.new"
        if kept.is_dir():
            return
        self.folder.mkdir(mode=0o700, exist_ok=True)
        shutil.rmtree(beside, ignore_errors=True)  # of one that was killed
        beside.mkdir()
        for path in _found(self.settings):
            _copy(path, beside)
        beside.rename(kept)

    def restore(self) -> None:
        """Put the settings back, where they were kept; those that are new go."""
        if not (self.folder / "settings").is_dir():
            return
        kept = _found(self.folder / "settings")
        for path in kept:
            _copy(path, self.settings)
        for path in set(_found(self.settings)) - {self.settings / path.name for path in kept}:
            path.unlink()

    def forget(self) -> None:
        """Keep nothing any more."""
        shutil.rmtree(self.folder)


def _found(folder: Path) -> list[Path]:
    """The settings in a folder; what else is there is not the deployment's."""
    return sorted({path for pattern in SETTINGS for path in folder.glob(pattern)})


def _copy(path: Path, folder: Path) -> None:
    """Copy a file into a folder, with owner and mode; whoever reads it there sees the old one or the new one."""
    there = path.stat()
    handle, beside = tempfile.mkstemp(dir=folder, prefix=".new-")
    with os.fdopen(handle, "wb") as file:
        file.write(path.read_bytes())
        os.fchown(file.fileno(), there.st_uid, there.st_gid)
        os.fchmod(file.fileno(), stat.S_IMODE(there.st_mode))
        file.flush()
        os.fsync(file.fileno())
    os.rename(beside, folder / path.name)


def _names(folder: Path) -> set[str]:
    try:
        return {path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")}
    except OSError:
        return set()


def _read(path: Path) -> dict[str, Any]:
    """A JSON object, empty where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
