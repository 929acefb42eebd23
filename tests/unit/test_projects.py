"""The app's and the runtime's own tests, with the packages of the app's lock."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Tried on a deployed host, in the scenario `default`.
ELSEWHERE = {"app": ["--ignore", "tests/test_browser.py"]}


@pytest.mark.parametrize("project", ["app", "runtime"])
def test_project(project: str) -> None:
    command = [str(ROOT / "bin/in-app"), project, "pytest", "--numprocesses", "2"]
    run = subprocess.run([*command, *ELSEWHERE.get(project, ())], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
