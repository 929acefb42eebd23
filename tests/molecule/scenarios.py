"""Runs Molecule scenarios in the background, and notes how long each of their phases takes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).parents[2]
LOGS = ROOT / ".cache" / "molecule"
# In the order in which they start: the longest first, so that none is left running alone at the end.
SCENARIOS = ("default", "redis", "mishaps", "debian12", "plain", "plain-redis")
PHASE = re.compile(r"INFO +\[\S+ > (\S+)\] Executing$")
# What pytest, Ansible and Molecule write of the reason for a failure.
REASON = re.compile(r"(E  |FAILED |ERROR |\[ERROR\]|fatal: )")


@dataclass
class Run:
    """A scenario that has ended.

    Args:
        code: the exit code of `make molecule`.
        log: where all of its output is.
        phases: seconds that each phase took, in the order in which Molecule ran them.
    """

    code: int
    log: Path
    phases: dict[str, float] = field(default_factory=dict)

    def failure(self) -> str:
        """Return the reasons, and the end of the log: what a reader who has no more than the report has to know."""
        lines = self.log.read_text(encoding="utf-8").splitlines()
        reasons = [line[:2000] for line in lines if REASON.match(line)]
        said = [*reasons[:80], "The end of the log:", *lines[-20:]]
        return "\n".join([f"make molecule ended with {self.code}. All that it printed: {self.log}", *said])


def machine() -> str:
    """Return what is left of this machine: a full one fails in many ways, none of which names the reason."""
    memory = re.search(r"MemAvailable: +(\d+)", Path("/proc/meminfo").read_text(encoding="utf-8"))
    free, available = shutil.disk_usage(ROOT).free / 2**30, int(memory[1]) / 2**20 if memory else 0
    return f"{free:.0f} GiB of disk and {available:.0f} GiB of memory are free, load {os.getloadavg()[0]:.0f}"


class Scenarios:
    """Runs scenarios side by side; most of their time they wait.

    Args:
        at_once: how many run at the same time.
        terminal: where the beginning of each phase is shown.
    """

    def __init__(self, at_once: int, terminal: TextIO) -> None:
        self._pool = ThreadPoolExecutor(at_once)
        self._terminal = terminal
        self._runs: dict[str, Future[Run]] = {}

    def start(self, names: Iterable[str]) -> None:
        """Start these scenarios, as many at once as there is room for."""
        LOGS.mkdir(parents=True, exist_ok=True)
        self._runs |= {name: self._pool.submit(self._run, name) for name in names}

    def wait(self, name: str) -> Run:
        """Return a scenario's run when it has ended."""
        return self._runs[name].result()

    def end(self) -> None:
        """Start no other scenario, and wait for those that run."""
        self._pool.shutdown(cancel_futures=True)
        self._terminal.flush()

    def _run(self, name: str) -> Run:
        command = ["make", "molecule", f"SCENARIO={name}"]
        environment = os.environ | {"NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1"}
        run = Run(0, LOGS / f"{name}.log")
        began, phase = time.monotonic(), "setup"
        with (
            run.log.open("w", encoding="utf-8") as log,
            subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            ) as process,
        ):
            for line in process.stdout or ():
                log.write(line)
                log.flush()
                if found := PHASE.match(line):
                    self._say(f"[{name}] {found[1]}")
                    now = time.monotonic()
                    run.phases[phase] = run.phases.get(phase, 0) + now - began
                    began, phase = now, found[1]
        run.phases[phase] = run.phases.get(phase, 0) + time.monotonic() - began
        run.code = process.returncode
        ended = "passed" if run.code == 0 else "FAILED"
        self._say(f"[{name}] {ended} after {sum(run.phases.values()):.0f} s; {machine()}")
        return run

    def _say(self, text: str) -> None:
        self._terminal.write(f"\n{text}\n")
        self._terminal.flush()
