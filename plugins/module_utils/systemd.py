# SPDX-License-Identifier: MIT
"""Calls systemctl for a service, and says what a service that does not run has logged."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterable
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.module_utils import logs

TAKING_UP = {"start", "restart", "reload", "command"}
SHOWN = ("ActiveState", "SubState", "UnitFileState", "NeedDaemonReload", "LoadState")


class ServiceError(Exception):
    """The service does not run; `advice` says what to do, and `touched` whether anything was done to the service."""

    def __init__(self, message: str, advice: str, touched: bool = True) -> None:
        super().__init__(message)
        self.advice = advice
        self.touched = touched


def plan(unit: dict[str, str], params: dict[str, Any], action: str | None) -> list[str]:
    """Return the actions that bring a unit to the wanted state, in order.

    Args:
        unit: what `systemctl show` says.
        params: the module's parameters.
        action: what applies changed files, None where none changed.
    """
    actions = []
    if unit["NeedDaemonReload"] == "yes" or unit["LoadState"] == "not-found":
        actions.append("daemon-reload")
    if params["enabled"] and unit["UnitFileState"] in ("disabled", ""):
        actions.append("enable")
    if not params["enabled"] and unit["UnitFileState"] == "enabled":
        actions.append("disable")
    running = unit["ActiveState"] in ("active", "reloading", "activating")
    if params["state"] == "stopped":
        if running:
            actions.append("stop")
    elif not running:
        actions += ["reset-failed"] if unit["ActiveState"] == "failed" else []
        actions.append("start")
    elif action:
        # a service that is still starting cannot reload
        actions.append("restart" if action == "reload" and unit["ActiveState"] == "activating" else action)
    return actions


def address(text: str) -> tuple[int, Any]:
    """Return the socket family and address of a port, address:port or path."""
    if text.startswith("/"):
        return socket.AF_UNIX, text
    host, _, port = text.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    return (socket.AF_INET6 if ":" in host else socket.AF_INET), (host, int(port))


class Systemd:
    """Call systemctl for one service.

    Args:
        name: the unit.
        own_logs: the service's own log files.
    """

    def __init__(self, name: str, own_logs: Iterable[str] = ()) -> None:
        self.name = name if "." in name else f"{name}.service"
        self.own_logs = {path: os.path.getsize(path) if os.path.exists(path) else 0 for path in own_logs}
        self.began = int(time.time())

    def call(self, *command: str, failed: str = "") -> None:
        """Run a command.

        Args:
            command: its words.
            failed: what a failure means, for a command that is too long to be shown.

        Raises:
            ServiceError: it failed; the message has its output and the unit's last log lines.
        """
        try:
            done = subprocess.run(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                text=True,
                errors="replace",
                check=False,
                env=os.environ | {"LC_ALL": "C.UTF-8"},
            )
        except OSError as error:
            raise ServiceError(f"{command[0]} cannot be run: {error.strerror}.", "Is it installed?") from error
        if done.returncode:
            failed = failed or f"`{' '.join(command)}` failed"
            raise self.failure(f"{failed}:\n{done.stdout.strip()}")

    def failure(self, message: str) -> ServiceError:
        """Return an error with the unit's last log lines, and those of the service's own log files."""
        try:
            journal = subprocess.run(
                [
                    *("journalctl", "--unit", self.name, "--since", f"@{self.began}"),
                    *("--lines", "20", "--no-pager", "--output", "cat"),
                ],
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            ).stdout.strip()
        except OSError:
            journal = ""
        lines = f"\nThe last lines of its log:\n{journal}" if journal else ""
        if own := logs.ends_of(self.own_logs, self.own_logs, count=30, errors=10):
            lines += f"\n{own}"
        return ServiceError(
            message + lines,
            f"Correct what the log of {self.name} complains of (journalctl -u {self.name}) and deploy again: "
            "what was not applied is applied then.",
        )

    def show(self) -> dict[str, str]:
        """Return the unit's state; a host without systemd has no unit."""
        try:
            done = subprocess.run(
                ["systemctl", "show", self.name, f"--property={','.join(SHOWN)}"],
                capture_output=True,
                text=True,
                check=False,
            )
        except OSError:
            done = None
        lines = done.stdout.splitlines() if done else []
        state = dict.fromkeys(SHOWN, "") | dict(line.split("=", 1) for line in lines if "=" in line)
        return state | {"LoadState": state["LoadState"] or "not-found"}

    def wait_for(self, place: str, timeout: float) -> None:
        """Wait until something accepts connections at a place.

        Raises:
            ServiceError: nothing did within `timeout` seconds, or the unit failed.
        """
        family, target = address(place)
        deadline = time.monotonic() + timeout
        pause = 0.05
        while True:
            with socket.socket(family, socket.SOCK_STREAM) as client:
                client.settimeout(2)
                try:
                    client.connect(target)
                    return
                except OSError as error:
                    reason = error.strerror or str(error)
            if time.monotonic() > deadline:
                raise self.failure(f"{self.name} does not accept connections at {place} after {timeout:g} s: {reason}.")
            state = self.show() if pause > 0.5 else {}
            if state.get("ActiveState") == "failed" or state.get("SubState") == "auto-restart":
                raise self.failure(f"{self.name} failed before it accepted connections at {place}.")
            time.sleep(pause)
            pause = min(pause * 1.5, 1)


def run(systemd: Systemd, actions: list[str], params: dict[str, Any]) -> None:
    """Do the actions.

    Raises:
        ServiceError: one failed.
    """
    queue = () if params["wait"] else ("--no-block",)
    for action in actions:
        if action == "command":
            systemd.call(*params["command"])
        elif action == "daemon-reload":
            systemd.call("systemctl", "daemon-reload")
        elif action in ("enable", "disable", "reset-failed"):
            systemd.call("systemctl", action, "--quiet", systemd.name)
        else:
            systemd.call("systemctl", action, *queue, systemd.name)
