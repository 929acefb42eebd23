"""The parts of `make chaos` that need no host: what it reads from a ledger, and what it says of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.faults import report
from tests.faults.__main__ import seconds
from tests.faults.faults import FAULTS
from tests.faults.ledger import Event, Ledger, Verdict, extra_runs, longest_gap, verdict_of
from tests.faults.proofs import PROOFS
from tests.faults.trial import Trial
from tests.hosts.support import eventually


def event(id: str, what: str, t: float = 0.0, task: str = "tasks.add") -> Event:
    return Event(id, task, what, t, 1, "celery@host")


def line(*args: Any, **kwargs: Any) -> str:
    return json.dumps(event(*args, **kwargs)._asdict()) + "\n"


def verdict(**changed: Any) -> Verdict:
    facts: dict[str, Any] = {
        "fault": "F9",
        "title": "power loss",
        "broker": "redis",
        "accepted": 100,
        "finished": 100,
        "lost": 0,
        "twice": 1,
        "twice_allowed": 8,
        "twice_word": "in hand",
        "refused": 3,
        "failed": 0,
        "gap_s": 4.5,
        "healthy_s": 6.0,
        "noticed_s": None,
        "series": [1, 5, 0, 7],
        "fault_s": (1.0, 2.5),
        "log": [(1.0, "power off")],
        "versions": {"celery": "5.7.0", "this": "abc123"},
        "date": "2026-11-21",
    }
    return Verdict(**(facts | changed))


# --- the ledger -------------------------------------------------------------------------------------------------------


def test_it_reads_what_is_written_from_now_on_and_whole_lines_only(tmp_path: Path) -> None:
    path = tmp_path / "runs"
    path.write_text(line("old", "success"))
    ledger = Ledger(path)
    with path.open("a") as file:
        file.write(line("a", "start") + line("b", "success")[:20])
        file.flush()
        assert [one.id for one in ledger.read()] == ["a"]
        file.write(line("b", "success")[20:])
    assert [one.id for one in ledger.read()] == ["a", "b"]
    assert ledger.finished() == {"b"}


def test_a_ledger_may_not_be_there_yet(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "runs")
    assert ledger.read() == []
    (tmp_path / "runs").write_text(line("a", "failure"))
    assert ledger.finished() == {"a"}


def test_it_knows_what_runs_now(tmp_path: Path) -> None:
    path = tmp_path / "runs"
    ledger = Ledger(path)
    path.write_text(line("a", "start") + line("b", "start", task="tasks.count") + line("a", "success"))
    assert [one.id for one in ledger.running("tasks.count")] == ["b"]
    assert ledger.running("tasks.add") == []


def test_a_retry_is_no_extra_run() -> None:
    events = [event("a", what) for what in ("start", "retry", "start", "success")]
    assert extra_runs(events, {"a"}) == Counter()


def test_what_starts_once_more_is_an_extra_run() -> None:
    """Whether the first run was cut off, or had ended and was not acknowledged."""
    events = [event("a", what) for what in ("start", "start", "retry", "start", "success")]
    events += [event("b", what) for what in ("start", "success", "start", "success")]
    events += [event("c", what) for what in ("start", "start", "success")]
    assert extra_runs(events, {"a", "b"}) == {"a": 1, "b": 1}


def test_a_gap_reaches_from_the_beginning_to_the_end() -> None:
    events = [event("a", "success", t) for t in (3.0, 4.0)] + [event("other", "success", 8.0)]
    assert longest_gap(events, {"a"}, 1.0, 10.0) == 6.0
    assert longest_gap(events, {"a"}, 0.0, 5.0) == 3.0
    assert longest_gap([], set(), 0.0, 5.0) == 5.0


# --- the verdict ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"lost": 2, "finished": 98}, "2 of 100 accepted tasks were lost"),
        ({"twice": 9}, "9 extra runs; allowed: in hand, 8 here"),
        ({"healthy_s": None}, "it did not become healthy by itself"),
        ({"accepted": 0, "finished": 0}, "nothing was tested"),
    ],
)
def test_what_is_not_as_promised_is_said(changed: dict[str, Any], words: str) -> None:
    good, bad = verdict(), verdict(**changed)
    good.judge()
    bad.judge()
    assert (good.held, good.problems) == (True, [])
    assert not bad.held
    assert words in " ".join(bad.problems)


def test_a_proof_that_loses_nothing_has_failed() -> None:
    assert verdict(proof=True, lost=3, problems=["3 of 100 …"]).held
    assert not verdict(proof=True, lost=0).held


class Web:
    """A host whose web side says 200, and other things in between.

    Args:
        ledger: where there is none yet.
        between: they are said first.
    """

    platform = SimpleNamespace(features={"web"})

    def __init__(self, ledger: Path, *between: int | Exception) -> None:
        self.ledger = ledger
        self.answers = iter(between)
        self.asked = 0

    def http(self, path: str) -> Any:
        self.asked += 1
        answer = next(self.answers, 200)
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(status=answer)


def problems(host: Any, refused: Iterable[str] = (), asked: int = 20) -> list[str]:
    """What a trial has to say of a web side that was asked so often, and refused some calls of the load."""
    trial = Trial(host)
    trial.load.refused.update(refused)
    with trial.web_requests():
        eventually(lambda: host.asked, lambda so_far: so_far >= asked)
    return trial.problems


def test_each_web_request_that_fails_is_a_problem(tmp_path: Path) -> None:
    assert problems(Web(tmp_path / "runs")) == []
    assert problems(Web(tmp_path / "runs", 200, 502, ConnectionRefusedError())) == ["2 requests failed"]
    assert problems(Web(tmp_path / "runs"), refused=["HTTP 503", "OperationalError"]) == ["1 requests failed"]


# --- the report -------------------------------------------------------------------------------------------------------


def test_a_verdict_is_kept_and_replaced(tmp_path: Path) -> None:
    for lost in (1, 0):
        report.keep(verdict(lost=lost), tmp_path)
    report.keep(verdict(fault="F9 without appendfsync always", proof=True), tmp_path)
    report.keep(verdict(fault="soak"), tmp_path)
    report.keep(verdict(fault="F13"), tmp_path)
    kept = report.kept(tmp_path)
    assert [one.fault for one in kept] == ["F9", "F13", "soak", "F9 without appendfsync always"]
    assert kept[0] == verdict()
    assert verdict_of(json.loads(json.dumps(verdict().as_json()))) == verdict()


def test_the_report_says_it_in_three_ways(tmp_path: Path) -> None:
    shown = [verdict(), verdict(fault="F9 without appendfsync always", proof=True, lost=5)]
    report.write(shown, tmp_path)
    (row, proof) = json.loads((tmp_path / "guarantees.json").read_text())
    assert row.items() >= {"fault": "F9", "broker": "redis", "topology": "single", "lost": 0, "healthy_s": 6.0}.items()
    assert (proof["lost"], proof["proof"]) == (5, True)
    page = (tmp_path / "guarantees.md").read_text()
    for words in ("F9", "without appendfsync always", "celery 5.7.0", "2026-11-21", "abc123", "F13 rabbitmq"):
        assert words in page
    for one in shown:
        assert f"guarantees/{one.name}.svg" in page
        picture = ElementTree.parse(tmp_path / "guarantees" / f"{one.name}.svg")  # noqa: S314  (ours)
        assert "power loss" in "".join(picture.getroot().itertext())


# --- the matrix -------------------------------------------------------------------------------------------------------


def test_the_matrix_is_that_of_a_single_host() -> None:
    single = [1, 2, 3, 4, 7, 8, 9, 13, 14, 15, 16, 17, 18, 20, 21, 22, 23]
    assert [report.number(id) for id in FAULTS] == single
    assert {fault.twice for fault in FAULTS.values()} <= {"no", "once", "in hand", "bounded"}
    assert {one.id for one in FAULTS.values() if one.sample} == {"F8", "F13", "F17"}


def test_each_protection_is_taken_away_once() -> None:
    assert {proof.fault for proof in PROOFS} <= set(FAULTS)
    assert {broker for proof in PROOFS for broker in proof.brokers} == {"rabbitmq", "redis"}


def test_times_are_read() -> None:
    assert [seconds(text) for text in ("90", "90s", "40m", "1.5h")] == [90, 90, 2400, 5400]
