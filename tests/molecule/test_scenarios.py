"""Each Molecule scenario as one test, so that one summary tells of all."""

from collections.abc import Callable

import pytest

from tests.molecule.scenarios import SCENARIOS, Scenarios


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(scenario: str, scenarios: Scenarios, record_property: Callable[[str, object], None]) -> None:
    run = scenarios.wait(scenario)
    for phase, seconds in run.phases.items():
        record_property(phase, f"{seconds:.1f}")  # kept with the report: `make test-times`
    if run.code:
        pytest.fail(run.failure(), pytrace=False)
