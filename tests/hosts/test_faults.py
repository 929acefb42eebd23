"""A short run of the faults of `make chaos`, on this host: no accepted task is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.faults import FAULTS
from tests.faults.host import Host
from tests.faults.trial import Fault, run
from tests.hosts.support import Platform

pytestmark = [pytest.mark.late(50), pytest.mark.needs("ledger")]


@pytest.fixture(scope="module")
def broken(platform: Platform) -> Host:
    """The same host, entered from outside."""
    return Host(Path(platform.inventory))


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(one, id=one.id, marks=() if len(one.sample) > 1 else pytest.mark.needs(*one.sample))
        for one in FAULTS.values()
        if one.sample
    ],
)
def test_no_accepted_task_is_lost(broken: Host, fault: Fault) -> None:
    """And none runs more often than is promised, and the host is healthy again by itself."""
    verdict = run(fault, broken, brief=True)
    assert not verdict.problems, "\n".join([*verdict.problems, *(f"{t} s: {text}" for t, text in verdict.log)])
