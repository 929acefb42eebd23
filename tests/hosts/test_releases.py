"""Releases as a user moves between them: back, forward, and away from one that does not work."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hosts.support import ROOT, Site, eventually

Verb = Callable[..., str]

pytestmark = [pytest.mark.needs("example"), pytest.mark.late(1)]
# What a worker alone runs into, so that the release passes the check of its import.
DIES = """
import sys
if "worker" in sys.argv:
    raise SystemExit("this release has no workers")
"""


@pytest.fixture
def make(site: Site) -> Verb:
    """Run a verb on the scenario's host, and return what it said."""

    def run(*words: str, works: bool = True) -> str:
        inventory = f"INVENTORY={site.platform.inventory.relative_to(ROOT)}"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        done = subprocess.run(
            ["make", *words, inventory],
            cwd=ROOT,
            env=environment | {"ANSIBLE_NOCOLOR": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode == 0) == works, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


def current(site: Site) -> str:
    """The release that is live."""
    return site.run("readlink /opt/celery/current").strip().removeprefix("releases/")


def released(site: Site) -> set[str]:
    """The releases that the workers run, by their own word."""
    return {answer["release"] for answer in json.loads(site.run("celery -A tasks inspect release --json")).values()}


def changed(folder: Path, code: str) -> str:
    """The application with more code, as a variable for the command line."""
    shutil.copytree(ROOT / "app", folder / "app", ignore=shutil.ignore_patterns(".*", "__pycache__", "tests"))
    with (folder / "app/tasks/tasks.py").open("a", encoding="utf-8") as file:
        file.write(f"{code}# {time.time_ns()}: never released before\n")
    return f"-e celery_app_source={folder}/app"


def test_a_bad_release_goes_back_and_is_refused(site: Site, make: Verb, tmp_path: Path) -> None:
    """The workers of the good one never stop."""
    good, before = current(site), {program: main.pid for program, (main, *_) in site.processes().items()}
    bad = changed(tmp_path, DIES)
    said = make("release", f"ARGS={bad}", works=False)
    assert "does not work" in said
    assert f"Release {good} runs again" in said
    assert (current(site), released(site)) == (good, {good})
    after = {program: main.pid for program, (main, *_) in site.processes().items()}
    assert after == before, "nothing of the good one was restarted"
    refused = make("release", f"ARGS={bad}", works=False)
    assert "is marked bad since" in refused
    assert "AGAIN=1" in refused
    listed = make("releases")
    assert "is bad: " in listed


def test_a_release_is_rolled_back(site: Site, make: Verb, tmp_path: Path) -> None:
    """And again, which leads forward."""
    first = current(site)
    other = changed(tmp_path, "")
    make("release", f"ARGS={other}")
    second = current(site)
    assert second != first
    make("rollback")
    assert (current(site), released(site)) == (first, {first})
    said = make("rollback", "TO=0123456789ab", works=False)
    assert "no release 0123456789ab. There are: " in said
    assert (current(site), released(site)) == (first, {first})


def test_one_program_is_restarted_alone(site: Site, make: Verb) -> None:
    """A worker is handed over."""
    before = site.processes()
    make("restart", "PROGRAM=celery")
    eventually(lambda: site.run("supervisorctl status", status=None), lambda said: "leaving" not in said)
    after = site.processes()
    assert [name for name in after if after[name][0].pid != before[name][0].pid] == ["celery"]
