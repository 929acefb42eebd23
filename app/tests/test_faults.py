"""What a worker leaves in the ledger, and what the tasks that do harm do to it."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from tasks import exhaust

APP = Path(__file__).resolve().parent.parent


def test_a_prefork_worker_keeps_the_ledger_until_it_is_killed(prefork: Any, tmp_path: Path) -> None:
    process = prefork(
        "add.s(2, 3), fail.s(), flaky.s(99), count.s(60).set(time_limit=1), mul.s(6, 7), "
        "crash.s('child'), xsum.s([1]), crash.s('worker')"
    )
    _, log = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, log
    entries = [json.loads(line) for line in (tmp_path / "ledger").read_text().splitlines()]
    seen: dict[tuple[str, str], Any] = {}
    for entry in entries:
        seen.setdefault((entry["task"].removeprefix("tasks."), entry["event"]), entry)
    begun = [name for name, event in seen if event == "start"]
    assert begun == ["add", "fail", "flaky", "count", "mul", "crash", "xsum"]
    assert {name: event for name, event in seen if event != "start"} == {
        **dict.fromkeys(["add", "mul", "xsum"], "success"),
        **dict.fromkeys(["fail", "count"], "failure"),
        "flaky": "retry",
    }
    assert [entry["task"] for entry in entries].count("tasks.crash") == 2, "started twice, and never done"
    for (name, event), entry in seen.items():
        assert entry["t"] >= seen[name, "start"]["t"], (name, event)
    assert {entry["node"] for entry in entries} == {"unit@here"}
    assert seen["add", "start"]["id"] == seen["add", "success"]["id"] != seen["mul", "start"]["id"]
    ran = [seen[name, "start"]["pid"] for name in ("add", "flaky", "count", "mul", "crash", "xsum")]
    assert ran[0] == ran[1] == ran[2] != ran[3] == ran[4] != ran[5]
    assert seen["count", "failure"]["pid"] == process.pid, "its own process was killed"


def test_a_ledger_that_cannot_be_written_is_an_error_and_costs_no_task(
    prefork: Any, environment: dict[str, str]
) -> None:
    environment["TASKS_LEDGER"] = "/nowhere/ledger"
    _, log = prefork("add.s(2, 3), crash.s('worker')").communicate(timeout=60)
    assert "succeeded" in log
    for event in ("start", "success"):
        assert re.search(rf"ERROR.*Ledger.on_{event} .*raised: FileNotFoundError", log), log


def test_outside_of_a_pool_the_parent_is_left_alone(environment: dict[str, str]) -> None:
    command = f"{sys.executable} -c 'from tasks import crash; crash(\"worker\")'; echo $?"
    assert subprocess.check_output(["/bin/sh", "-c", command], cwd=APP, env=environment, text=True) == "137\n"


def test_exhaust_is_bounded() -> None:
    assert exhaust(3) == 3
    with pytest.raises(ValueError, match="8192"):
        exhaust(8193)


@pytest.mark.django_db
def test_neither_page_nor_api_takes_harm_unless_told_to(client: Client, settings: Any) -> None:
    def post() -> int:
        body = {"task": "crash", "kwargs": {"what": "child"}}
        return client.post("/api/tasks", body, content_type="application/json").status_code

    assert post() == 422
    assert client.get("/examples/crash").status_code == 404
    assert b"crash" not in client.get("/").content
    settings.FAULTS = True
    assert post() == 202
    assert b"crash</a>" not in client.get("/").content
