"""What was accepted against what was run: the ledger, and the verdict on it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

FINAL = ("success", "failure")


class Event(NamedTuple):
    """A line of the ledger: something that happened to a task, written by the process that ran it.

    ``event`` is start, success, failure or retry; ``t`` is in seconds since the epoch.
    """

    id: str
    task: str
    event: str
    t: float
    pid: int
    node: str


class Ledger:
    """The file that the workers write, from a moment on.

    Args:
        path: the file; it may not be there yet. What is in it already is not read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.events: list[Event] = []
        self._read_to = path.stat().st_size if path.exists() else 0

    def read(self) -> list[Event]:
        """All events since the beginning, with those that were written meanwhile."""
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self._read_to)
                new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._read_to += len(whole)
            self.events += [_event(json.loads(line)) for line in whole.splitlines()]
        return self.events

    def finished(self) -> set[str]:
        """The ids of the tasks that have reached a final state."""
        return {event.id for event in self.read() if event.event in FINAL}

    def running(self, task: str) -> list[Event]:
        """The starts of this task that have not ended yet, the latest last.

        Args:
            task: its name, such as ``tasks.count``.
        """
        open_: dict[str, Event] = {}
        for event in self.read():
            if event.event == "start":
                open_[event.id] = event
            else:
                open_.pop(event.id, None)
        return [event for event in open_.values() if event.task == task]


def _event(line: dict[str, Any]) -> Event:
    return Event(line["id"], line["task"], line["event"], float(line["t"]), int(line["pid"]), line["node"])


def extra_runs(events: Iterable[Event], ids: set[str]) -> Counter[str]:
    """How often each task started without need: beyond its first start and one for each of its retries.

    Args:
        events: the ledger.
        ids: whose runs are of interest.
    """
    starts: Counter[str] = Counter()
    for event in events:
        if event.id in ids:
            starts[event.id] += {"start": 1, "retry": -1}.get(event.event, 0)
    return Counter({id: count - 1 for id, count in starts.items() if count > 1})


def longest_gap(events: Iterable[Event], ids: set[str], begin: float, end: float) -> float:
    """The longest time, in seconds, in which none of the tasks succeeded.

    Args:
        events: the ledger.
        ids: the tasks that count.
        begin: from when on, in seconds since the epoch.
        end: until when.
    """
    times = sorted(e.t for e in events if e.event == "success" and e.id in ids and begin < e.t < end)
    return max(after - before for before, after in zip([begin, *times], [*times, end], strict=True))


@dataclass
class Verdict:
    """What one fault did to the tasks that were accepted around it. Times are in seconds.

    Args:
        fault: its number, such as F9, and what was taken away, for a proof.
        title: what was done.
        broker: rabbitmq or redis.
        topology: how many hosts.
        accepted: tasks whose publishing call returned without an error.
        finished: those of them that did what they were to.
        lost: those that did not: no final state, or a failure that is not their own.
        twice: starts beyond a task's first that none of its retries explains.
        twice_allowed: how many of those the promise allows, after what was done.
        twice_word: the promise's word for it.
        refused: calls that raised an error, or answers other than 2xx: the producer knows, nothing was promised.
        failed: the lost ones whose final state is a failure.
        gap_s: the longest time without a success while there was load.
        healthy_s: from the fault's end until celery-health said 0 or 1; None when it never did.
        noticed_s: from the beginning of an outage until celery-health said 2; None when there was no long outage.
        proof: whether a protection was taken away, so that there has to be a loss.
        brief: whether it was the short run of the Molecule scenarios.
        date: when it ran.
        versions: of all parts.
        problems: what is not as promised, in words.
        log: what was done when, as pairs of seconds since the load began and words.
        series: tasks that succeeded in each second since the load began.
        fault_s: when the fault began and ended, in seconds since the load began.
    """

    fault: str
    title: str
    broker: str
    accepted: int
    finished: int
    lost: int
    twice: int
    twice_allowed: int
    twice_word: str
    refused: int
    failed: int
    gap_s: float
    healthy_s: float | None
    noticed_s: float | None
    topology: str = "single"
    proof: bool = False
    brief: bool = False
    date: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    log: list[tuple[float, str]] = field(default_factory=list)
    series: list[int] = field(default_factory=list)
    fault_s: tuple[float, float] = (0.0, 0.0)

    @property
    def name(self) -> str:
        """What its files are called."""
        return "-".join(f"{self.fault} {self.broker}".lower().split())

    @property
    def held(self) -> bool:
        """Whether all is as promised; for a proof, whether the harness saw a loss."""
        return self.lost > 0 if self.proof else not self.problems

    def judge(self) -> None:
        """Say what is not as promised."""
        if self.lost:
            self.problems.append(
                f"{self.lost} of {self.accepted} accepted tasks were lost, {self.failed} of them by a failure"
            )
        if self.twice > self.twice_allowed:
            self.problems.append(f"{self.twice} extra runs; allowed: {self.twice_word}, {self.twice_allowed} here")
        if self.healthy_s is None:
            self.problems.append("it did not become healthy by itself")
        if not self.accepted:
            self.problems.append("no task was accepted, so nothing was tested")

    def as_json(self) -> dict[str, Any]:
        """Everything, as JSON has it."""
        return asdict(self)


def verdict_of(data: dict[str, Any]) -> Verdict:
    """The verdict that ``as_json`` wrote.

    Args:
        data: the parsed JSON.
    """
    log = [(float(t), str(text)) for t, text in data.pop("log")]
    begin, end = data.pop("fault_s")
    return Verdict(**data, log=log, fault_s=(begin, end))
