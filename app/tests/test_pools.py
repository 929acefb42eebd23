"""Workers for machines that have no prefork: each runs the examples."""

import subprocess
import sys

import pytest
from live import APP, Live, Local, until

POOLS = ("solo", "threads", "gevent")


@pytest.fixture(scope="module")
def workers(live: Live) -> dict[str, dict[str, str]]:
    """A worker of each pool, and the environment of who wants to use it."""
    if not isinstance(live, Local):
        pytest.skip("the deployed app has its own workers")
    environments = {pool: live.environment_on(database) for database, pool in enumerate(POOLS, start=2)}
    for pool, environment in environments.items():
        command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-l", "info", "-P", pool]
        live.spawn(pool, *command, environment=environment)
    return environments


@pytest.mark.parametrize("pool", POOLS)
def test_an_example_runs(live: Local, workers: dict[str, dict[str, str]], pool: str) -> None:
    until(lambda: b" ready." in (live.folder / f"{pool}.log").read_bytes(), f"{pool} is ready")
    command = [sys.executable, "-m", "tasks.examples", "chord_of_adds", "numbers=1,2,3"]
    done = subprocess.run(command, cwd=APP, env=workers[pool], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["12.0"], done.stderr
