"""Workers for machines that have no prefork: each runs the examples."""

import subprocess
import sys
from datetime import datetime

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
        command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-l", "info", "-P", pool, "-c", "2"]
        live.spawn(pool, *command, environment=environment)
    return environments


@pytest.mark.parametrize("pool", POOLS)
def test_an_example_runs(live: Local, workers: dict[str, dict[str, str]], pool: str) -> None:
    until(lambda: b" ready." in (live.folder / f"{pool}.log").read_bytes(), f"{pool} is ready")
    command = [sys.executable, "-m", "tasks.examples", "chord_of_adds", "numbers=1,2,3"]
    done = subprocess.run(command, cwd=APP, env=workers[pool], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["12.0"], done.stderr


TWO_RUNS = """
import tasks, django
django.setup()
from tasks.service import run_example
print(*(run_example("progress", {"seconds": 2}) for _ in range(2)))
"""


@pytest.mark.parametrize("pool", POOLS)
def test_each_task_has_a_timeline_of_its_own(live: Local, workers: dict[str, dict[str, str]], pool: str) -> None:
    """Of all that it sets, logs and comes to, also while another one runs in the same process."""
    until(lambda: b" ready." in (live.folder / f"{pool}.log").read_bytes(), f"{pool} is ready")
    said = subprocess.check_output([sys.executable, "-c", TWO_RUNS], cwd=APP, env=workers[pool], text=True)
    began, ended = [], []
    for run in said.split():
        found = live.reaches(f"/api/runs/{run}/events", lambda answer: "] succeeded in" in str(answer))["events"]
        (task_id,) = {event["task_id"] for event in found}
        kinds = [event["kind"] for event in found if event["kind"] != "log"]
        assert sorted(kinds) == ["progress", "received", "sent", "started", "succeeded"]
        (done,) = [event["detail"]["message"] for event in found if event["kind"] == "log"]
        assert f"[{task_id}] succeeded in" in done
        times = {event["kind"]: datetime.fromisoformat(event["time"]) for event in found}
        began.append(times["started"])
        ended.append(times["succeeded"])
    assert (max(began) < min(ended)) == (pool != "solo")
