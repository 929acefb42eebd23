"""What CI runs is all that there is, and the report of its times reads what a run has left."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests import times
from tests.molecule.scenarios import PHASE, SCENARIOS, Run

ROOT = Path(__file__).parents[2]
FOLDERS = {path.parent.name for path in ROOT.glob("molecule/*/molecule.yml")}
JOBS = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]


def test_make_test_runs_every_scenario() -> None:
    assert sorted(SCENARIOS) == sorted(FOLDERS)


def test_the_workflow_runs_every_scenario() -> None:
    assert sorted(JOBS["prove"]["strategy"]["matrix"]["scenario"]) == sorted(FOLDERS)


def test_the_workflow_runs_what_make_test_runs() -> None:
    """Each folder of tests has a verb in the workflow, and each of its steps is a verb of the Makefile."""
    steps = [step["run"] for job in JOBS.values() for step in job["steps"] if "run" in step]
    makefile = (ROOT / "Makefile").read_text()
    assert {step.split()[1] for step in steps} == {"lint", "unit", "projects", "tour", "molecule"}
    for step in steps:
        assert re.search(rf"^{step.split()[1]}: ", makefile, re.MULTILINE), step


def test_contributing_says_what_each_scenario_proves() -> None:
    rows = re.findall(r"^\| `([a-z0-9-]+)` \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    assert set(SCENARIOS) <= set(rows)


def test_the_beginning_of_a_phase_is_read() -> None:
    found = PHASE.match("INFO     [plain-redis > side_effect] Executing\n")
    assert found
    assert found[1] == "side_effect"
    assert not PHASE.match("INFO     [plain > discovery] scenario test matrix: destroy, create\n")


def test_the_report_of_a_failed_scenario_begins_with_the_reasons(tmp_path: Path) -> None:
    log = tmp_path / "redis.log"
    log.write_text("\n".join(["TASK [one]"] * 500 + ["E   AssertionError: why", "FAILED test_one - why"] + ["."] * 50))
    said = Run(2, log).failure().splitlines()
    assert said[1:3] == ["E   AssertionError: why", "FAILED test_one - why"]
    assert len(said) < 30


@pytest.fixture
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The reports of a run with a unit test and a scenario."""
    monkeypatch.setattr(times, "REPORTS", tmp_path)
    phase = '<property name="verify" value="61.5"/><property name="create" value="8.2"/>'
    (tmp_path / "test.xml").write_text(
        '<testsuites><testsuite time="90" timestamp="2026-11-29T08:00:00+00:00">'
        '<testcase classname="tests.unit.test_one" name="test_quick" time="2.4"/>'
        f'<testcase classname="tests.molecule" name="test_scenario[redis]" time="80"><properties>{phase}</properties>'
        "</testcase></testsuite></testsuites>"
    )
    (tmp_path / "redis.xml").write_text(
        '<testsuite><testcase classname="tests.hosts.test_rotation" name="test_slow" time="40.2"/></testsuite>'
    )
    return tmp_path


def test_the_report_adds_up_phases_files_and_tests(reports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    times.main()
    said = capsys.readouterr().out
    assert "1.5 minutes" in said
    assert re.search(r"^redis +62 +8 +70$", said, re.MULTILINE)
    assert re.search(r"^tests.hosts.test_rotation +- +40$", said, re.MULTILINE)
    assert re.search(r"^redis: test_rotation::test_slow +40\ntest: test_one::test_quick +2$", said, re.MULTILINE)


def test_without_a_run_there_is_no_report(reports: Path) -> None:
    (reports / "test.xml").unlink()
    with pytest.raises(SystemExit, match="make test"):
        times.main()
