"""Deployments as a user starts them, cut off at a place of one's choice."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.hosts.support import ROOT, Site

# Keeps the arguments of each process that lives for some hundredths of a second.
WATCH = """
import os, time
seen = set()
while not os.path.exists("/root/watched.stop"):
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            seen.add(open(f"/proc/{pid}/cmdline", "rb").read())
        except OSError:
            pass
    time.sleep(0.03)
open("/root/watched", "wb").write(b"\\n".join(seen))
"""

SITE = ROOT / "playbooks/site.yml"


@dataclass(frozen=True)
class Run:
    """A deployment that has ended.

    Args:
        status: the exit code; negative when a signal ended it.
        said: what it printed.
    """

    status: int
    said: str

    @property
    def changed(self) -> int:
        """How many tasks changed something, on all hosts."""
        return sum(map(int, re.findall(r"changed=(\d+)", self.said)))


class Deployments:
    """Runs playbooks/site.yml, or another playbook.

    Args:
        inventory: where to.
    """

    def __init__(self, inventory: Path) -> None:
        self.inventory = inventory

    def _start(self, variables: dict[str, Any], playbook: Path = SITE) -> subprocess.Popen[str]:
        command = ["ansible-playbook", "-i", str(self.inventory), str(playbook), "-e", json.dumps(variables)]
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
            "ANSIBLE_NOCOLOR": "1",
            "PYTHONUNBUFFERED": "1",
        }
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, playbook: Path = SITE, **variables: Any) -> Run:
        """Deploy.

        Args:
            playbook: another than the one that deploys.
            variables: extra ones.
        """
        with self._start(variables, playbook) as process:
            said, _ = process.communicate(timeout=600)
        return Run(process.returncode, said)

    def cut_off(self, task: str, after: float, how: signal.Signals, **variables: Any) -> Run:
        """Deploy until a task has begun and a moment has passed, then end it and everything that it has started here.

        A deployment that does not end within 20 s of a milder signal is killed: a user would lose patience as well.

        Args:
            task: the task's name, as it is shown.
            after: seconds.
            how: by Ctrl-C, by being told to end, or at once.
            variables: extra ones.
        """
        with self._start(variables) as process:
            said = ""
            for line in process.stdout or ():
                said += line
                if line.startswith(f"TASK [{task}"):
                    time.sleep(after)
                    break
            started = descendants(process.pid)
            os.killpg(process.pid, how)
            try:
                said += process.communicate(timeout=20)[0]
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                said += process.communicate()[0]
            # Ansible's workers have sessions of their own. One whose Mitogen was killed would wait for it for ever.
            for child in started:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(child, signal.SIGKILL)
                os.close(child)
        return Run(process.returncode, said)


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, and those that these have: a pidfd of each, to be closed.

    Args:
        pid: of the process.
    """
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            parents[int(stat.parent.name)] = int(stat.read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    family = {pid}
    while more := {one for one, parent in parents.items() if parent in family} - family:
        family |= more
    found = []
    for one in family - {pid}:
        with contextlib.suppress(ProcessLookupError):
            found.append(os.pidfd_open(one))
    return found


class Watch:
    """Sees the arguments of the processes on a host.

    Args:
        site: the host.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        site.run("systemd-run --quiet --unit watch /usr/bin/python3 -c %s", WATCH)

    def seen(self) -> str:
        """Stop, and return all that was seen, a process a line."""
        self.end()
        return self.site.run("tr '\\0' ' ' </root/watched")

    def end(self) -> None:
        """Stop."""
        self.site.run("touch /root/watched.stop; while systemctl -q is-active watch; do sleep 0.1; done")
