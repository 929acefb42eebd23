"""The app's and the runtime's own tests, with the packages of the app's lock."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("project", ["app", "runtime"])
def test_project(project: str) -> None:
    run = subprocess.run([ROOT / "bin" / "in-app", project, "pytest"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
