"""Each Molecule scenario as one test, so that one summary tells of all.

They run in the background, as many at once as the machine has pairs of cores (or as SCENARIOS_AT_ONCE says).
"""

import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOGS = ROOT / ".cache" / "molecule"
SCENARIOS = sorted(path.parent.name for path in ROOT.glob("molecule/*/molecule.yml"))
AT_ONCE = int(os.environ.get("SCENARIOS_AT_ONCE") or max(1, (os.cpu_count() or 1) // 2))


def run(scenario: str) -> int:
    """Run a scenario: the steps to the terminal as they begin, all that is said to the log.

    Returns:
        The exit code.
    """
    command = ["make", "molecule", f"SCENARIO={scenario}"]
    plain = os.environ | {"NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1"}
    with (
        (LOGS / f"{scenario}.log").open("w") as log,
        subprocess.Popen(
            command, cwd=ROOT, env=plain, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process,
    ):
        for line in process.stdout or ():
            log.write(line)
            log.flush()
            if line.startswith("INFO") and line.endswith("Executing\n"):
                print(f"\n{line[4:].strip()}", end="", flush=True)
    return process.returncode


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[int]]]:
    """The scenarios that were asked for, under way."""
    LOGS.mkdir(parents=True, exist_ok=True)
    asked = {item.name for item in request.session.items}
    wanted = [scenario for scenario in SCENARIOS if f"test_scenario[{scenario}]" in asked]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {scenario: pool.submit(run, scenario) for scenario in wanted}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(scenario: str, runs: dict[str, Future[int]], capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        code = runs[scenario].result()
    log = LOGS / f"{scenario}.log"
    assert code == 0, f"{log}:\n{log.read_text()}"
