"""Releases as a user moves between them: back, forward, and away from one that does not work; and restarts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.deployments.support import Deployments
from tests.faults.host import Host
from tests.faults.trial import Fault, Trial, run
from tests.hosts.support import DIES, Platform, Site, app_with, once

Unnoticed = Callable[[Callable[[], None]], None]

pytestmark = [pytest.mark.needs("example"), pytest.mark.late(1)]

NEW_LIMIT = json.dumps({"celery_soft_time_limit": 77})
CHECK = "Check that the release imports"


@pytest.fixture
def unnoticed(platform: Platform) -> Unnoticed:
    """Do something under load, which no task and no web request may notice; alone where there is no ledger to tell."""

    def do(what: Callable[[], None]) -> None:
        if "ledger" not in platform.features:
            return what()

        def cause(trial: Trial) -> None:
            with trial.web_requests():
                what()

        fault = Fault("verbs", "what an operator does", "no", cause)
        verdict = run(fault, Host(platform.inventory), brief=True, eta=(1.0, 4.0))
        assert not verdict.problems, "\n".join([*verdict.problems, *(f"{t} s: {text}" for t, text in verdict.log)])

    return do


def current(site: Site) -> str:
    """The release that is live."""
    return site.run("readlink /opt/celery/current").strip().removeprefix("releases/")


def told(site: Site) -> str:
    """What programs read when they start, and how they are started."""
    return site.run("find /etc/celery /etc/supervisor/conf.d -type f -exec sha256sum {} + | sort -k 2")


def released(site: Site) -> set[str]:
    """The releases that the workers run, by their own word."""
    return {answer["release"] for answer in json.loads(site.run("celery -A tasks inspect release --json")).values()}


def restarted(before: dict[str, int], after: dict[str, int]) -> list[str]:
    """The programs whose main process is another one."""
    assert before.keys() == after.keys()
    return [program for program, pid in after.items() if pid != before[program]]


def test_a_bad_release_goes_back_and_is_refused(site: Site, tmp_path: Path) -> None:
    """The programs of the good one never stop, and new settings that came with the bad one go with it."""
    good, before, settings = current(site), site.main_pids(), told(site)
    bad = f"ARGS=-e celery_app_source={app_with(DIES, tmp_path / 'app')} -e '{NEW_LIMIT}'"
    said = site.make("release", bad, works=False)
    assert "does not work" in said
    assert f"Release {good} runs again" in said
    assert (current(site), released(site)) == (good, {good})
    assert restarted(before, site.main_pids()) == []
    assert told(site) == settings
    refused = site.make("release", bad, works=False)
    assert "is marked bad since" in refused
    assert "AGAIN=1" in refused
    assert "is bad: " in site.make("releases")


def test_nobody_notices_what_an_operator_does(site: Site, unnoticed: Unnoticed, tmp_path: Path) -> None:
    """No task is lost or runs twice, and each web request is answered; only what is concerned is restarted."""

    def all_of_it() -> None:
        a_release_is_rolled_back(site, app_with("", tmp_path / "app"))
        if "ledger" in site.platform.features:
            each_program_is_restarted_alone(site)
            a_workers_settings_restart_that_worker_alone(site)

    unnoticed(all_of_it)


def a_release_is_rolled_back(site: Site, other: Path) -> None:
    """Release another application, and go back."""
    first = current(site)
    site.make("release", f"ARGS=-e celery_app_source={other}")
    second = current(site)
    assert second != first
    assert released(site) == {second}
    assert CHECK not in site.make("rollback"), "it was checked when it was new"
    assert (current(site), released(site)) == (first, {first})


def each_program_is_restarted_alone(site: Site) -> None:
    """Restart one program after the other, and not supervisord."""
    for program in site.platform.programs:
        before = site.main_pids()
        site.make("restart", f"PROGRAM={program}")
        assert restarted(before, site.main_pids()) == [program]


def a_workers_settings_restart_that_worker_alone(site: Site) -> None:
    """Change the settings of a worker, and change them back. Meanwhile somebody is an operator."""
    deployments = Deployments(site.platform.inventory)
    worker, *others = site.platform.variables["celery_workers"]
    larger = {**worker, "concurrency": worker["concurrency"] + 1}
    operators = site.platform.variables["celery_operators"]
    for workers, members in (([larger, *others], [*operators, "otto"]), ([worker, *others], operators)):
        before = site.main_pids()
        done = deployments.run(celery_workers=workers, celery_operators=members)
        assert done.status == 0, done.said[-3000:]
        assert restarted(before, site.main_pids()) == [site.platform.workers[0].program]
        assert site.run("getent group celery-operators").strip().split(":")[3].split(",") == members
    assert site.run("getent passwd otto").strip().endswith(":/home/otto:/bin/bash"), (
        "the account is a person's, and stays"
    )
    assert site.run("stat -c %U /home/otto").strip() == "otto"


def test_a_release_that_a_host_has_not_is_refused(site: Site) -> None:
    """With the ids of those that the host has."""
    release = current(site)
    said = site.make("rollback", "TO=0123456789ab", works=False)
    assert "no release 0123456789ab. There are: " in said
    assert (current(site), released(site)) == (release, {release})


@once
def test_a_release_is_checked_again_with_other_settings(site: Site) -> None:
    """Before it is switched to: what runs goes on, and nothing on the host reads the settings that fail."""
    release, before, in_use = current(site), site.main_pids(), told(site)
    settings = json.dumps({"celery_app_environment": {"DJANGO_SETTINGS_MODULE": "no_such_settings"}})
    said = site.make("rollback", f"ARGS=-e '{settings}'", works=False)
    assert CHECK in said
    assert "no_such_settings" in said
    assert (current(site), released(site)) == (release, {release})
    assert told(site) == in_use
    assert restarted(before, site.main_pids()) == []


@once
def test_settings_that_do_not_work_go_back(site: Site) -> None:
    """Those of a worker, its environment too: no program stops, and the next deployment changes nothing."""
    before, in_use = site.main_pids(), told(site)
    deployments = Deployments(site.platform.inventory)
    worker, *others = site.platform.variables["celery_workers"]
    broken: list[dict[str, Any]] = [
        {"arguments": ["--no-such-option"]},
        {"environment": {"DJANGO_SETTINGS_MODULE": "no_such_settings"}},
    ]
    for one in broken:
        done = deployments.run(celery_workers=[worker | one, *others])
        assert done.status != 0, one
        assert "The new settings do not work: " in done.said, one
        assert told(site) == in_use, one
        assert restarted(before, site.main_pids()) == [], one
    done = deployments.run()
    assert (done.status, done.changed) == (0, 0), done.said[-3000:]
