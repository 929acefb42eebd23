# SPDX-License-Identifier: MIT
"""Free the deploy lock of a run that fails or is interrupted, because its last task never runs."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

from ansible import context
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: deploy_lock
type: aggregate
short_description: Frees the deploy lock of a run that fails or is interrupted
description:
  - Frees the lock that M(celery_on_hosts.platform.deploy_lock) took, where the run ends before the task that frees it.
  - The run may have failed, or have been interrupted by Ctrl-C, SIGTERM or SIGHUP. SIGTERM and SIGHUP end the run as
    Ctrl-C does.
  - Runs C(ansible) for the host that keeps the lock, with the options of this run, for at most 30 seconds. A password
    that was asked for at the start of the run is not asked for again.
  - Costs nothing where the run frees the lock itself.
requirements:
  - set C(callbacks_enabled = celery_on_hosts.platform.deploy_lock) in section C([defaults]) of C(ansible.cfg)
"""

MODULE = "celery_on_hosts.platform.deploy_lock"
DEADLINE_S = 30
# Options of ansible-playbook that say which host a name is and how to log in there, by their names in CLIARGS.
OPTIONS = {
    name: f"--{name.replace('_', '-')}"
    for name in (
        *("inventory", "extra_vars", "connection", "timeout", "become_method", "become_user"),
        *("ssh_common_args", "ssh_extra_args", "sftp_extra_args", "scp_extra_args"),
        *("become_password_file", "connection_password_file"),
    )
} | {
    "private_key_file": "--private-key",
    "remote_user": "--user",
    "vault_ids": "--vault-id",
    "vault_password_files": "--vault-password-file",
}


def free_command(taken: Mapping[str, Any], become: bool, playbook_dir: str) -> list[str]:
    """Return the command that frees a lock.

    Args:
        taken: the result of the module that took the lock.
        become: whether the lock was taken as another user.
        playbook_dir: where Ansible looks for `group_vars` beside the inventory's.
    """
    options = []
    for name, option in OPTIONS.items():
        values = context.CLIARGS.get(name) or ()
        options += [f"{option}={value}" for value in (values if isinstance(values, list | tuple) else [values])]
    arguments = json.dumps({"state": "free", "path": taken["path"], "holder": {"run": taken["holder"]["run"]}})
    options += [f"--playbook-dir={playbook_dir}", *(["--become"] if become else [])]
    return [
        sys.executable,
        "-m",
        "ansible",
        "adhoc",
        *options,
        f"--module-name={MODULE}",
        f"--args={arguments}",
        taken["host"],
    ]


def run_within(command: list[str], seconds: float) -> str:
    """Run `ansible` where a Ctrl-C does not reach it, and return why it failed: empty where it did not.

    Args:
        command: the program with its arguments.
        seconds: how long the command may take. Then it is killed with all that it has started.
    """
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            env=os.environ | {"ANSIBLE_STRATEGY": "ansible.builtin.linear"},  # Mitogen cannot always run `ansible`.
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            if process.wait(seconds) == 0:
                return ""
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return f"there was no answer within {seconds} s"
        output.seek(0)
        said = output.read().decode(errors="replace")
        message = re.search(r'"msg": ("(?:[^"\\]|\\.)*")', said)
        return " ".join((json.loads(message[1]) if message else said).split())[-400:]


class CallbackModule(CallbackBase):
    """Ansible's entry point."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = MODULE
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._playbook_dir = "."
        self._main_process = os.getpid()
        self._held: dict[str, list[str]] = {}  # the command that frees the lock, by the host that keeps it

    def v2_playbook_on_start(self, playbook: Any) -> None:
        self._playbook_dir = playbook._basedir

    def v2_runner_on_ok(self, result: Any) -> None:
        if result.task.resolved_action != MODULE:
            return
        host = result.result["host"]
        if not result.result["held"]:
            self._held.pop(host, None)
            return
        if not self._held:
            self._expect_the_end()
        become = bool(result.task.become or context.CLIARGS.get("become"))
        self._held[host] = free_command(result.result, become, self._playbook_dir)

    def _expect_the_end(self) -> None:
        """Free the lock when the process ends, and let each signal end the process as Ctrl-C does.

        Python runs nothing at the end of a process that SIGTERM or SIGHUP ends.
        """
        atexit.register(self._free, interrupted=True)
        interrupt = signal.getsignal(signal.SIGINT)
        if callable(interrupt):  # Ansible's own, which also ends the processes of tasks
            for number in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, lambda _, frame: interrupt(signal.SIGINT, frame))

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self._free()

    def _free(self, interrupted: bool = False) -> None:
        """Free the locks that this run still holds; in the main process alone, of which tasks' processes are copies."""
        while self._held and os.getpid() == self._main_process:
            host, command = self._held.popitem()
            if interrupted:
                with contextlib.suppress(OSError):  # SIGHUP: the terminal is gone.
                    self._display.display(f"Freeing the deploy lock on {host} …")
            why = run_within(command, DEADLINE_S)
            if why:
                self._display.warning(
                    f"The deploy lock on {host} could not be freed: {why}. The next run from this machine takes "
                    "it over. A run from another machine needs UNLOCK=1 (celery_unlock: true)."
                )
