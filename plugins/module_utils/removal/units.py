# SPDX-License-Identifier: MIT
"""Stop the platform's services, and give their files and units back as they were."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.module_utils import apt, originals
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.names import ORIGINALS, STAMPS
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.originals import Originals
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.removal.step import Removal, remove_if_empty

SYSTEMD = "/etc/systemd/system/"


class Unit:
    """A systemd unit that the platform configures.

    Args:
        removal: the removal.
        name: the unit's full name.
        installed: whether the platform installed its package.
    """

    def __init__(self, removal: Removal, name: str, installed: bool = False) -> None:
        self.removal, self.host, self.name = removal, removal.host, name
        self.originals = Originals(self.host.path(ORIGINALS), name)
        self.stamp = self.host.path(f"{STAMPS}/{name}.json")
        self.claimed = self.stamp.exists()
        self.may_disable = self.claimed or installed
        # An older version of the platform kept nothing.
        self.files: dict[str, dict[str, Any]] = {name: {"state": originals.UNKNOWN} for name in self._stamped()}
        self.files |= self.originals.files

    def _stamped(self) -> list[str]:
        """Return the files that the stamp names."""
        try:
            return list(json.loads(self.stamp.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError):
            return []

    def show(self) -> tuple[str, bool]:
        """Return the state of the unit, such as `active`, and whether the unit starts with the host."""
        said = self.removal.run("systemctl", "show", self.name, "--property=ActiveState,UnitFileState")
        values = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
        return values.get("ActiveState", ""), values.get("UnitFileState", "").startswith("enabled")

    def is_on(self) -> bool:
        """Return whether the platform configured the unit, and it runs or starts with the host."""
        state, enabled = self.show()
        return self.claimed and (state != "inactive" or enabled)

    def switch_off(self) -> None:
        """Stop the unit and, where the platform configured or installed it, keep it from starting with the host."""
        state, enabled = self.show()
        if state not in ("inactive", "failed"):
            self.removal.run("systemctl", "stop", self.name)
            state, _ = self.show()
        if state == "failed":
            self.removal.run("systemctl", "reset-failed", self.name)
        if enabled and self.may_disable:
            self.removal.run("systemctl", "disable", "--quiet", self.name)

    def files_back(self, package: str) -> None:
        """Put the files back as they were; a package's configuration file of which nothing was kept comes from apt.

        Args:
            package: the package that brought them.
        """
        lost = False
        for name, original in self.files.items():
            originals.put_back(self.host.path(name), original)
            lost = lost or (original["state"] == originals.UNKNOWN and name in self.host.conffiles)
            if name.startswith(SYSTEMD):
                remove_if_empty(self.host.path(name).parent)
            if name.endswith(".py"):
                for compiled in self.host.path(name).parent.glob(f"__pycache__/{Path(name).stem}.*"):
                    compiled.unlink()
        if lost:
            confmiss = ("-o", "Dpkg::Options::=--force-confmiss", *apt.waiting())
            self.removal.run("apt-get", "install", "--yes", "--quiet", "--reinstall", *confmiss, package)
        if any(name.startswith(SYSTEMD) for name in self.files):
            self.removal.run("systemctl", "daemon-reload")

    def drop_ins_away(self) -> None:
        """Remove the files for systemd alone: the others are gone already."""
        self.files = {name: original for name, original in self.files.items() if name.startswith(SYSTEMD)}
        self.files_back("")

    def as_before(self) -> None:
        """Let the unit run, and start with the host, as it did before the platform came."""
        was = self.originals.unit
        if was.get("UnitFileState") in ("enabled", "disabled"):
            verb = was["UnitFileState"].removesuffix("d")
            self.removal.run("systemctl", verb, "--quiet", self.name)
        verb = {"active": "restart", None: "try-restart"}.get(was.get("ActiveState"), "stop")
        self.removal.run("systemctl", verb, self.name)

    def forget(self) -> None:
        """Remove the stamp: the unit is not the platform's any more."""
        self.originals.path.unlink(missing_ok=True)
        self.stamp.unlink(missing_ok=True)


def own_files(units: Sequence[Unit], removal: Removal) -> list[str]:
    """Return the files of some units that are on the host."""
    return [name for unit in units for name in unit.files if os.path.lexists(removal.host.path(name))]
