"""The application's and the runtime's own tests, with the packages of the app's lock, and with the oldest Celery."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Tried on a deployed host, in the scenario `default`.
ELSEWHERE = {"app": ["--ignore", "tests/test_browser.py"]}


OLDEST = "runtime/tests/versions/5.3.lock"  # `make versions` runs them with all


@pytest.mark.parametrize(("project", "lock"), [("app", ""), ("runtime", ""), ("runtime", OLDEST)])
def test_project(project: str, lock: str) -> None:
    command = [str(ROOT / "bin/in-app"), project, "pytest", "--numprocesses", "2", *ELSEWHERE.get(project, ())]
    environment = {**os.environ, "LOCK": lock}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
