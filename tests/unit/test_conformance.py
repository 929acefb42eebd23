"""How `make conformance` reads reports and compares the two sides."""

from __future__ import annotations

import pytest

from tests.conformance.differences import Comparison, Difference, differences
from tests.conformance.sides import argument, outcomes
from tests.hosts.support import ROOT

REPORT = """<?xml version="1.0"?>
<testsuites><testsuite name="pytest">
  <testcase classname="t.integration.test_a.test_A" name="test_b[1-x]"/>
  <testcase classname="t.integration.test_a" name="test_c"><failure message="no"/></testcase>
  <testcase classname="t.integration.test_a" name="test_d"><skipped type="pytest.xfail"/></testcase>
  <testcase classname="t.integration.test_a" name="test_e"><error message="no fixture"/></testcase>
  <testcase classname="t.integration.test_a" name="test_c"/>
</testsuite></testsuites>
"""
ETA = Difference("Tasks wait elsewhere", "here", "there", "safer", tests=("t.a::test_eta*", "t.a::test_b[1]"))


def test_the_report_of_a_side() -> None:
    """A test that was run again counts as it ended."""
    assert outcomes(REPORT) == {
        "t.integration.test_a.test_A::test_b[1-x]": "passed",
        "t.integration.test_a::test_c": "passed",
        "t.integration.test_a::test_d": "skipped",
        "t.integration.test_a::test_e": "failed",
    }


@pytest.mark.parametrize(
    ("reported", "selected"),
    [
        ("t.integration.test_a.test_A::test_b[1-x]", "t/integration/test_a.py::test_A::test_b[1-x]"),
        ("t.integration.test_a::test_c", "t/integration/test_a.py::test_c"),
    ],
)
def test_a_test_is_selected_again(reported: str, selected: str) -> None:
    assert argument(reported) == selected


def compared(**outcomes_: tuple[str, str]) -> Comparison:
    """A comparison of tests of t.a: what came of each on the plain side, and here."""
    names = {name: f"t.a::{name}" for name in outcomes_}
    plain = {names[name]: one for name, (one, _) in outcomes_.items()}
    return Comparison(plain, {names[name]: one for name, (_, one) in outcomes_.items()}, (ETA,))


def test_what_fails_here_alone_is_a_fault_unless_it_is_listed() -> None:
    found = compared(
        test_same=("passed", "passed"),
        test_broken=("failed", "failed"),
        test_eta_wait=("passed", "failed"),
        test_new=("passed", "failed"),
        test_lucky=("failed", "passed"),
        test_skipped=("passed", "skipped"),
    )
    assert found.faults() == ["t.a::test_new", "t.a::test_skipped"]
    assert found.on_purpose() == {"t.a::test_eta_wait": ETA}
    assert found.unused() == []


def test_a_test_that_did_not_run_here_is_a_fault() -> None:
    assert Comparison({"t.a::test_x": "passed"}, {}, (ETA,)).faults() == ["t.a::test_x"]


def test_a_suite_that_does_not_run_proves_nothing() -> None:
    assert not compared(test_same=("failed", "failed")).ran
    assert compared(test_same=("passed", "failed")).ran


def test_an_entry_without_a_difference_is_said() -> None:
    assert compared(test_eta_wait=("passed", "passed")).unused() == [ETA]


def test_a_parameter_in_brackets_is_no_pattern() -> None:
    assert ETA.covers("t.a::test_b[1]")
    assert not ETA.covers("t.a::test_b1")


def test_the_list() -> None:
    found = differences()
    assert {one.title for one in found if set(one.brokers) - {"rabbitmq", "redis"}} == set()
    assert [one.proof for one in found if one.proof and not (ROOT / one.proof).is_file()] == []
    assert {one.title for one in found if one.left_out and any("*" in test for test in one.tests)} == set()
    assert differences("redis") != differences("rabbitmq")
