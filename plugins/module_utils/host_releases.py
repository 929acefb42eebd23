# SPDX-License-Identifier: MIT
"""Read and change the releases of a host: which exist, which is current, which worked or are bad, which ones run.

``releases.json``, beside the releases' folders, records when each release worked, and which are bad and why.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.module_utils import atomic, processes
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.kept_files import KeptFiles
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.locks import locked
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.names import REPORTS

REMEMBERED = 50  # successes that are recorded
SETTINGS = ("environment", "*.environment", "platform.json", "signing.crt", "signing.key", "services-ca.crt")


@dataclass(frozen=True)
class Process:
    """A process that belongs to a release. ``program`` is its supervisord program, empty for a process of a shell."""

    pid: int
    parent: int
    started: int
    program: str
    release: str


@dataclass
class Record:
    """The content of ``releases.json``.

    Args:
        worked: release and time of each success, newest last.
        bad: reason and time, by release, and the configuration with which the release did not work.
        checked: the configuration with which a release was last checked, by release.
        summaries: what that check said, by release, as ``celery_on_hosts.check --summary`` prints it.
    """

    worked: list[dict[str, str]] = field(default_factory=list)
    bad: dict[str, dict[str, str]] = field(default_factory=dict)
    checked: dict[str, str] = field(default_factory=dict)
    summaries: dict[str, dict[str, Any]] = field(default_factory=dict)


class Releases:
    """The releases below a root.

    Args:
        root: the folder, such as ``/opt/celery``.
        reports: the folder of heartbeats, in which workers and beat write which release they run.
    """

    def __init__(self, root: str, reports: str = REPORTS) -> None:
        self.root = Path(root)
        self.reports = Path(reports)
        self.folder = self.root / "releases"
        self.record = Record(**(_read(self.root / "releases.json") or {}))

    @property
    def current(self) -> str:
        """Return the release that is current, empty where none is."""
        try:
            return (self.root / "current").readlink().name
        except OSError:
            return ""

    @property
    def worked(self) -> str:
        """Return the release that worked last, empty where none did."""
        return self.record.worked[-1]["release"] if self.record.worked else ""

    @property
    def unpacked(self) -> list[str]:
        """Return the unpacked releases: those that worked, the latest first, then those that never did."""
        found = _names(self.folder)
        latest = list(dict.fromkeys(entry["release"] for entry in reversed(self.record.worked)))
        return [name for name in latest if name in found] + sorted(found - set(latest))

    @property
    def previous(self) -> str:
        """Return the release to roll back to: the latest that worked and is neither current nor bad; empty for none."""
        worked = {entry["release"] for entry in self.record.worked} - {self.current} - self.record.bad.keys()
        return next((name for name in self.unpacked if name in worked), "")

    def facts(self, name: str) -> dict[str, Any]:
        """Return what is recorded of a release."""
        times = [entry["time"] for entry in self.record.worked if entry["release"] == name]
        return {
            "release": name,
            "built_from": _read(self.folder / name / "release.json").get("built_from") or "",
            "worked": times[-1] if times else "",
            "bad": self.record.bad.get(name, {}).get("reason", ""),
            "checked": self.record.checked.get(name, ""),
            "summary": self.record.summaries.get(name, {}),
        }

    # --- what runs ---------------------------------------------------------------------------------------------------

    def processes(self) -> list[Process]:
        """Return each process whose working folder or environment belongs to one of these releases.

        The working folder decides: a process of another release may have inherited an environment.
        """
        found = []
        for folder in processes.folders():
            with contextlib.suppress(OSError, ValueError):
                environment = processes.environment(folder)
                release = self._release_of(os.readlink(folder / "cwd")) or environment.get("CELERY_RELEASE", "")
                parent, started = processes.parent_and_start(folder)
                if release and (self.folder / release).is_dir():
                    program = environment.get("CELERY_PROGRAM", "")
                    found.append(Process(int(folder.name), parent, started, program, release))
        return found

    def _release_of(self, path: str) -> str:
        prefix = f"{self.folder}/"
        return path.removeprefix(prefix).split("/")[0] if path.startswith(prefix) else ""

    def programs(self, names: list[str]) -> dict[str, str]:
        """Return the release that each program runs, by its heartbeat where it has one; empty where it does not run.

        A worker that is being handed over is listed twice, its old process as ``NAME (leaving)``.
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
        """Make a release current, atomically."""
        beside = self.root / "current.new"
        beside.unlink(missing_ok=True)
        beside.symlink_to(f"releases/{name}")
        beside.rename(self.root / "current")

    def mark_checked(self, name: str, configuration: str, summary: dict[str, Any] | None = None) -> None:
        """Record with which configuration a release was checked, and what the check said where it ran."""
        unpacked = self.unpacked
        self.record.checked = {one: with_ for one, with_ in self.record.checked.items() if one in unpacked}
        self.record.checked[name] = configuration
        self.record.summaries = {one: said for one, said in self.record.summaries.items() if one in unpacked}
        if summary is not None:
            self.record.summaries[name] = summary
        self._write()

    def mark_worked(self, name: str) -> None:
        """Record that a release works, and is no longer bad."""
        self.record.bad.pop(name, None)
        self._remember(name)

    def mark_bad(self, name: str, reason: str, configuration: str) -> None:
        """Record that a release does not work with a configuration, and why."""
        self.record.bad[name] = {"reason": reason, "time": _now(), "configuration": configuration}
        self._write()

    def bad_with(self, name: str, configuration: str) -> dict[str, str]:
        """Return what is recorded of a release that did not work; empty where another configuration may mend it."""
        bad = self.record.bad.get(name, {})
        return bad if bad.get("configuration", "") in ("", configuration) else {}

    def _remember(self, name: str) -> None:
        self.record.worked = [*self.record.worked, {"release": name, "time": _now()}][-REMEMBERED:]
        self._write()

    def _write(self) -> None:
        atomic.write(self.root / "releases.json", json.dumps(self.record.__dict__, indent=1), mode=0o644)

    def prunable(self, keep: int) -> list[Path]:
        """Return the folders of releases and packages that may be removed.

        The latest releases that worked stay, and the current one, the previous one, those that a process runs, and the
        packages of all of these.

        Args:
            keep: how many of the releases that worked stay.
        """
        worked = {entry["release"] for entry in self.record.worked}
        kept = {name for name in self.unpacked if name in worked and (keep := keep - 1) >= 0}
        kept |= {self.current, self.previous} | {process.release for process in self.processes()}
        kept |= {_read(path).get("release", "") for path in self.reports.glob("*.json")}
        packages = {_read(self.folder / name / "release.json").get("deps_id") for name in kept & _names(self.folder)}
        gone = [self.folder / name for name in sorted(_names(self.folder) - kept)]
        if None not in packages:  # a release without release.json may need any packages
            gone += [self.root / "deps" / name for name in sorted(_names(self.root / "deps") - packages)]
        return gone

    def remove(self, folders: list[Path]) -> None:
        """Remove folders. An interruption leaves no folder that looks whole."""
        for folder in folders:
            with locked(folder.parent):
                beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".new-"))  # the next unpacking removes it
                folder.rename(beside / folder.name)
                shutil.rmtree(beside, ignore_errors=True)


class Backup:
    """The settings, the programs' files and the application's files to roll back to when the candidate release fails.

    Args:
        root: the folder of `Releases`. The files are kept in its folder ``before``, for root alone.
        settings: the folder of settings that programs read when they start, such as ``/etc/celery``.
    """

    def __init__(self, root: str, settings: str) -> None:
        self.folder = Path(root) / "before"
        self.settings = Path(settings)

    @property
    def kept(self) -> bool:
        """Return whether anything is kept."""
        return self.folder.is_dir()

    @property
    def programs(self) -> str:
        """Return the files that supervisor_programs kept as one text, without their first lines; empty for none."""
        files = sorted((self.folder / "programs").glob("*.conf"))
        return "".join(path.read_text(encoding="utf-8").partition("\n")[2] for path in files)

    def keep(self) -> None:
        """Keep all settings or none. Settings that are already kept are not replaced."""
        kept, beside = self.folder / "settings", self.folder / "settings.new"
        if kept.is_dir():
            return
        self.folder.mkdir(mode=0o700, exist_ok=True)
        shutil.rmtree(beside, ignore_errors=True)  # left by a run that was killed
        beside.mkdir()
        for path in _found(self.settings):
            _copy(path, beside)
        beside.rename(kept)

    def restore(self) -> None:
        """Put kept settings and the application's kept files back, and remove settings that were added since."""
        KeptFiles(self.folder / "files").restore()
        if not (self.folder / "settings").is_dir():
            return
        kept = _found(self.folder / "settings")
        for path in kept:
            _copy(path, self.settings)
        for path in set(_found(self.settings)) - {self.settings / path.name for path in kept}:
            path.unlink()

    def forget(self) -> None:
        """Remove what is kept."""
        shutil.rmtree(self.folder)


def _found(folder: Path) -> list[Path]:
    """Return the settings in a folder; other files there do not belong to the deployment."""
    return sorted({path for pattern in SETTINGS for path in folder.glob(pattern)})


def _copy(path: Path, folder: Path) -> None:
    """Copy a file into a folder, with owner and mode. A reader there sees the old content or the new."""
    info = path.stat()
    owner, mode = (info.st_uid, info.st_gid), stat.S_IMODE(info.st_mode)
    atomic.write(folder / path.name, path.read_bytes(), mode=mode, owner=owner, sync=True)


def _names(folder: Path) -> set[str]:
    try:
        return {path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")}
    except OSError:
        return set()


def _read(path: Path) -> dict[str, Any]:
    """Return a JSON object from a file, empty where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
