"""Each Molecule scenario as one test, so that one summary tells of all."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCENARIOS = sorted(path.parent.name for path in ROOT.glob("molecule/*/molecule.yml"))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(scenario: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Molecule's steps are shown as they begin. All that they say is in the log, which is shown when one fails."""
    log = ROOT / ".cache" / "molecule" / f"{scenario}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = ["make", "molecule", f"SCENARIO={scenario}"]
    with (
        log.open("w") as out,
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run,
    ):
        assert run.stdout
        for line in run.stdout:
            out.write(line)
            out.flush()
            if line.rstrip().endswith(": Executing"):
                with capsys.disabled():
                    print(f"  {line.rstrip()}  (log: {log.relative_to(ROOT)})", flush=True)
    assert run.returncode == 0, log.read_text()
