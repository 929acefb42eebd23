# SPDX-License-Identifier: MIT
"""Show a deployment as one line a task, and a failure as what failed, where, and what to do."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible import constants as C
from ansible.plugins.callback.default import CallbackModule as Default

DOCUMENTATION = r"""
name: progress
type: stdout
short_description: One line a task, and failures with what to do about them
description:
  - Prints each play and task with the time it took. Hosts are named where something changed or failed.
  - Messages of M(ansible.builtin.debug) are printed as text.
  - At the end each failure is shown with its task, its hosts, its message and what to do.
  - Writes the seconds of each task to the file that the environment variable E(PROGRESS_TIMES) names, as JSON.
  - With C(-v) and above it is P(ansible.builtin.default#callback).
extends_documentation_fragment:
  - default_callback
  - result_format_callback
requirements:
  - set as stdout in configuration
"""

# Advice by patterns of a failure's text. The first entry that matches is used.
HINTS: dict[tuple[str, ...], str] = {
    (
        r"python3?: (command )?not found",
        r"/python3?:? (not found|No such file)",
        r"No such file or directory: '?[\w/]*python",
        r"interpreter .* not found",
    ): "The host has no Python. On it, as root: apt-get install python3",
    (
        r"sudo: (command )?not found",
        r"sudo'? was not found",
        r"No such file or directory: '?(/[\w/]*)?sudo\b",
    ): "The host has no sudo. On it, as root: apt-get install sudo, and let ansible_user use it.",
    (
        r"(Missing|Incorrect) sudo password",
        r"password is required",
        r"is not in the sudoers",
        r"may not run sudo",
        r"not allowed to run sudo",
    ): "ansible_user may not become root without a password. Give it NOPASSWD in sudoers, or use --ask-become-pass.",
    (r"sudo password is incorrect",): "The host's sudo refuses the password. Correct ansible_become_password.",
    (
        r"Could not get lock",
        r"dpkg frontend lock",
        r"is held by process",
    ): "Another apt runs on the host (unattended-upgrades, perhaps). Wait until it is done and deploy again.",
    (
        r"dpkg was interrupted",
    ): "An installation on the host was cut off. On the host, as root: dpkg --configure -a; then deploy again.",
    (
        r"No space left on device",
        r"enough free space",
    ): "The host's disk is full. Make room (df -h shows where) and deploy again.",
    (
        r"Temporary failure (in name resolution|resolving)",
        r"Unable to fetch some archives",
        r"Failed to (fetch|update apt cache)",
        r"Could not connect to .*:80",
    ): "The host does not reach Debian's mirror. Check its network, its resolver and /etc/apt.",
    (
        r"Host key verification failed",
        r"unrecognized or mismatching host key",
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
    ): "The host's SSH key is not the known one. If the host was made anew: ssh-keygen -R ADDRESS, then connect once.",
    (
        r"Permission denied \((publickey|password)",
        r"SSH (authentication is incorrect|password was requested)",
        r"(?<!sudo )password is incorrect",
    ): "The host refuses the login. Check ansible_user, ansible_ssh_private_key_file and the host's authorized_keys.",
}
UNREACHABLE = (
    "This changed nothing on it. Check that it is up, and its ansible_host, ansible_port and ansible_user: "
    "`ssh USER@HOST true` has to work."
)
SILENT = {"debug", "ansible.builtin.debug", "ansible.legacy.debug"}


def hint(text: str, unreachable: bool = False) -> str:
    """Return advice for a failure, empty where there is none.

    Args:
        text: the failure's messages and output.
        unreachable: whether the host could not be reached.
    """
    if "What to do:" in text or re.search(r"^\s+do:\s", text, re.MULTILINE):
        return ""
    for patterns, advice in HINTS.items():
        if re.search("|".join(patterns), text, re.IGNORECASE):
            return advice
    return UNREACHABLE if unreachable else ""


def clock(seconds: float) -> str:
    """Return seconds as m:ss."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def shorten(line: str, width: int = 400) -> str:
    """Return a line with its middle left out where it is longer than `width`."""
    return line if len(line) <= width else f"{line[: width // 2]} … {line[-width // 2 :]}"


def said(result: Mapping[str, Any]) -> str:
    """Return the messages of a failed result, and the last lines of its output."""
    if "censored" in result:
        return "What it says is hidden, because it may hold a secret."
    texts = [str(result.get("msg") or "").strip()]
    for item in result.get("results") or []:
        if isinstance(item, Mapping) and (item.get("failed") or item.get("unreachable")):
            texts.append(f"{item.get('_ansible_item_label', item.get('item', ''))}: {said(item)}")
    for key in ("module_stderr", "stderr", "module_stdout", "stdout"):
        output = str(result.get(key) or "").strip()
        if output and output not in texts[0]:
            texts.append("\n".join(output.splitlines()[-15:]))
    return "\n".join(text for text in texts if text) or "It does not say why."


def quoted(failure: Mapping[str, Any], later: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether a later failure of the same hosts says the same and more, as where a task explains an earlier one.

    Args:
        failure: ``text`` and ``hosts``.
        later: the failures after it.
    """
    hosts = set(failure["hosts"])
    return any(hosts <= set(one["hosts"]) and failure["text"] in one["text"] for one in later)


class CallbackModule(Default):
    """Ansible's entry point."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "celery_on_hosts.platform.progress"

    def __init__(self) -> None:
        super().__init__()
        self._started = time.monotonic()
        self._terminal = sys.stdout.isatty()
        self._open: dict[str, Any] | None = None
        self._heading = ""
        self._times: list[dict[str, Any]] = []
        self._failures: list[dict[str, Any]] = []

    # --- lines

    def _verbose(self) -> bool:
        return bool(self._display.verbosity)

    def _since(self) -> float:
        return time.monotonic() - self._started

    def _clear(self) -> None:
        if self._terminal:
            self._display.display("\r\033[K", newline=False, screen_only=True)

    def _running(self, note: str = "") -> None:
        """Show the task that runs, on a terminal, until its line is printed."""
        if self._terminal and self._open:
            width = shutil.get_terminal_size().columns - 1
            line = f"  {clock(self._since()):>5}       …  {self._open['task']}{note}"[:width]
            self._display.display(f"\r\033[K{line}", newline=False, screen_only=True)

    def _print(self, text: str, color: str | None = None) -> None:
        self._clear()
        if self._heading:
            heading, self._heading = self._heading, ""
            self._display.display(heading, color=C.COLOR_HIGHLIGHT)
        self._display.display(text, color=color)

    def _close(self) -> None:
        """Print the line of the task that has ended."""
        task, self._open = self._open, None
        if task is None:
            return
        task["seconds"] = round(self._since() - task["start_s"], 3)
        hosts: dict[str, str] = task["hosts"]
        self._times.append(task)
        shown = [status for status in hosts.values() if status != "skipped"]
        if not shown or task.pop("silent"):
            self._clear()
            return
        marks = []
        for status in ("changed", "failed", "unreachable", "ignored"):
            names = [host for host, was in hosts.items() if was == status]
            if names:
                marks.append(f"{status}: {', '.join(names)}")
        bad = {"failed", "unreachable"} & set(shown)
        color = C.COLOR_ERROR if bad else C.COLOR_CHANGED if "changed" in shown else C.COLOR_OK
        line = f"  {clock(self._since()):>5} {task['seconds']:6.1f}s  {task['task']:<58}  {'; '.join(marks)}"
        self._print(line.rstrip(), color)

    def _status(self, result: Any, status: str) -> None:
        if self._open is not None:
            self._open["hosts"][result.host.get_name()] = status

    def _fail(self, result: Any, status: str, ignored: bool) -> None:
        self._status(result, "ignored" if ignored else status)
        if ignored:
            return
        task = self._open["task"] if self._open else result.task.get_name()
        text = said(result.result)
        advice = hint(f"{text}\n{result.result.get('exception', '')}", status == "unreachable")
        for failure in self._failures:
            if (failure["task"], failure["text"], failure["advice"]) == (task, text, advice):
                failure["hosts"].append(result.host.get_name())
                return
        failure = {"task": task, "text": text, "advice": advice, "status": status, "hosts": [result.host.get_name()]}
        self._failures.append(failure)

    # --- events of Ansible

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._close()
        if self._verbose():
            super().v2_playbook_on_play_start(play)
            return
        self._play = play
        check = " (dry run)" if play.check_mode else ""
        self._heading = f"{play.get_name().strip()}{check}"

    def _task_start(self, task: Any, prefix: str | None = None) -> None:
        self._close()
        self._open = {
            "play": self._play.get_name().strip() if self._play else "",
            "task": task.get_name().strip(),
            "start_s": round(self._since(), 3),
            "hosts": {},
            "silent": task.action in SILENT,
        }
        if self._verbose():
            super()._task_start(task, prefix)
        else:
            self._running()

    def v2_runner_on_ok(self, result: Any) -> None:
        self._status(result, "changed" if result.result.get("changed") else "ok")
        if self._verbose():
            super().v2_runner_on_ok(result)
            return
        if result.result.get("warnings") or result.result.get("deprecations"):
            self._clear()
            self._handle_warnings_and_exception(result)
        if result.task.action in SILENT:
            for item in result.result.get("results") or [result.result]:
                self._debug(result, item)
        else:
            self._running()

    def _debug(self, result: Any, item: dict[str, Any]) -> None:
        if "skipped" in item:
            return
        message = item.get("msg")
        if message is None:
            self._clean_results(item, result.task.action)
            message = self._dump_results(item)
        lines = message if isinstance(message, list) else [message]
        self._print("\n".join(str(line) for line in lines))

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._status(result, "skipped")
        if self._verbose():
            super().v2_runner_on_skipped(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._fail(result, "failed", ignore_errors)
        if self._verbose():
            super().v2_runner_on_failed(result, ignore_errors)
        else:
            self._clear()
            self._handle_warnings(result.result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._fail(result, "unreachable", bool(result.task.ignore_unreachable))
        if self._verbose():
            super().v2_runner_on_unreachable(result)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        if self._verbose():
            super().v2_runner_item_on_ok(result)

    def v2_runner_item_on_failed(self, result: Any) -> None:
        if self._verbose():
            super().v2_runner_item_on_failed(result)

    def v2_runner_item_on_skipped(self, result: Any) -> None:
        if self._verbose():
            super().v2_runner_item_on_skipped(result)

    def v2_runner_retry(self, result: Any) -> None:
        if self._verbose():
            super().v2_runner_retry(result)
        else:
            left = result.result.get("retries", 0) - result.result.get("attempts", 0)
            self._running(f" ({result.host.get_name()}: not yet, {left} tries left)")

    def v2_playbook_on_include(self, included_file: Any) -> None:
        if self._verbose():
            super().v2_playbook_on_include(included_file)

    def v2_playbook_on_no_hosts_matched(self) -> None:
        if self._verbose():
            super().v2_playbook_on_no_hosts_matched()

    def v2_playbook_on_no_hosts_remaining(self) -> None:
        self._close()

    def v2_on_file_diff(self, result: Any) -> None:
        if self._verbose():
            super().v2_on_file_diff(result)
            return
        for item in result.result.get("results") or [result.result]:
            if isinstance(item, Mapping) and item.get("diff") and item.get("changed"):
                text = self._get_diff(item["diff"])
                if text:
                    self._print(
                        f"  {self.host_label(result)}: {self._open['task'] if self._open else ''}\n{text.rstrip()}"
                    )

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self._close()
        total = self._since()
        self._write_times(total)
        if self._verbose():
            super().v2_playbook_on_stats(stats)
        hosts = {name: stats.summarize(name) for name in sorted(stats.processed)}
        broken = {name for name, count in hosts.items() if count["failures"] or count["unreachable"]}
        for number, failure in enumerate(self._failures):
            if broken & set(failure["hosts"]) and not quoted(failure, self._failures[number + 1 :]):
                self._explain(failure)
        changed = sum(count["changed"] for count in hosts.values())
        ends = f"{len(hosts)} host{'' if len(hosts) == 1 else 's'}"
        if not hosts:
            ends = "no host matched"
        elif broken:
            ends += f", failed on {', '.join(sorted(broken))}"
        elif changed:
            ends += f", {changed} task{'' if changed == 1 else 's'} changed something"
        else:
            ends += ", nothing to change"
        color = C.COLOR_ERROR if broken else C.COLOR_CHANGED if changed else C.COLOR_OK
        self._heading = ""
        newline = "\n" if broken else ""
        self._print(f"{newline}{clock(total)}  {ends}", color)

    def _explain(self, failure: Mapping[str, Any]) -> None:
        what = "could not be reached" if failure["status"] == "unreachable" else "failed"
        hosts = ", ".join(failure["hosts"])
        self._heading = ""
        self._print(f"\n{hosts} {what}: {failure['task']}", C.COLOR_ERROR)
        self._display.display("\n".join(f"  {shorten(line)}" for line in failure["text"].splitlines()))
        if failure["advice"]:
            self._display.display(f"  What to do: {failure['advice']}", color=C.COLOR_HIGHLIGHT)

    def _write_times(self, total: float) -> None:
        path = os.environ.get("PROGRESS_TIMES")
        if not path:
            return
        try:
            Path(path).write_text(json.dumps({"total_s": round(total, 3), "tasks": self._times}, indent=1) + "\n")
        except OSError as error:
            self._display.warning(f"{path} (PROGRESS_TIMES) cannot be written: {error.strerror}")
