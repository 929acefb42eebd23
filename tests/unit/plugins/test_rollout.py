"""How a release, or new settings, get to a host."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.rollout import (
    Rollout,
    archives,
    host_release,
    rolled_back_message,
)

NEW, OLD = "0123456789ab", "ffffffffffff"
BUILD = {"deps_id": "d", "release_id": NEW, "deps_archive": "/d.tar", "release_archive": "/r.tar", "changed": True}


def candidate(**state: Any) -> bool:
    return Rollout(wanted=NEW, **state).candidate


def test_a_release_is_a_candidate_where_another_one_worked() -> None:
    assert candidate(worked=OLD)
    assert not candidate(worked=OLD, check=True)
    assert not candidate(worked=NEW), "it is the same"
    assert not candidate(worked=""), "there is none to roll back to"


@pytest.mark.parametrize("changed", ["settings_changed", "programs_changed", "shipped_changed"])
def test_new_settings_are_a_candidate_where_something_worked(changed: str) -> None:
    assert candidate(worked=NEW, **{changed: True})
    assert not candidate(worked=NEW, check=True, **{changed: True})
    assert not candidate(worked="", **{changed: True}), "there is nothing to roll back to"


def test_what_an_interrupted_run_left_is_a_candidate() -> None:
    assert candidate(worked=NEW, interrupted=True)
    assert not candidate(worked="", interrupted=True)


def test_a_change_that_stays_is_no_candidate() -> None:
    assert not candidate(worked=NEW, settings_changed=True, temporary=True)
    assert not Rollout(wanted=NEW, worked=NEW, temporary=True).can_roll_back
    assert candidate(worked=OLD, temporary=True), "another release all the same"


@pytest.mark.parametrize(
    ("finished", "untouched", "said"),
    [
        ([], ["b", "c"], "No other host was touched."),
        (["a"], [], f"On a it works and stays: make rollback TO={OLD} rolls back there too."),
        ([], [], ""),
    ],
)
def test_it_is_said_which_hosts_run_what(finished: list[str], untouched: list[str], said: str) -> None:
    text = rolled_back_message(Rollout(wanted=NEW, worked=OLD), "it is odd", finished, untouched)
    first, second, *rest = text.splitlines()
    assert (first, NEW in second, OLD in second) == (f"Release {NEW} does not work: it is odd", True, True)
    assert rest[-1].startswith("What to do:")
    assert rest[:-1] == ([said] if said else [])


def test_new_settings_are_not_called_a_release() -> None:
    text = rolled_back_message(Rollout(wanted=NEW, worked=NEW), "it is odd", ["a"], ["c"])
    assert "Release" not in text
    assert "On a they work and stay." in text.splitlines()


def test_a_host_gets_the_archives_of_what_it_runs() -> None:
    assert [one["root"] for one in archives([BUILD, BUILD])] == ["/opt/celery", "/opt/flower"]
    assert [one["root"] for one in archives([{"skipped": True}, BUILD])] == ["/opt/flower"]
    assert archives([{"skipped": True}, {}]) == []
    assert sorted(archives([BUILD, {}])[0]) == [
        *("deps_archive", "deps_id", "group", "release_archive", "release_id", "root")
    ]
    assert [one["group"] for one in archives([BUILD, BUILD])] == ["celery", ""]


def test_what_is_known_of_a_release_that_was_built() -> None:
    unpacked = {
        "current": {"/opt/celery": OLD, "/opt/flower": "x"},
        "worked": {"/opt/celery": OLD},
        "unproven": {"/opt/celery": True},
    }
    assert host_release(BUILD, {"skipped": True}, unpacked, "new") == {
        **{"kind": "new", "release_id": NEW, "checked": "", "current": OLD, "worked": OLD, "unproven": True},
        "summary": {},
    }


def test_what_is_known_of_a_release_that_the_host_has() -> None:
    said: dict[str, list[str]] = {"weaknesses": []}
    releases = [{"release": OLD, "checked": "digest", "summary": said}, {"release": NEW, "checked": "", "summary": {}}]
    found = {"found": OLD, "releases": releases, "current": NEW, "worked": NEW, "unproven": False}
    assert host_release({"skipped": True}, found, {}, "previous") == {
        **{
            "kind": "previous",
            "release_id": OLD,
            "checked": "digest",
            "current": NEW,
            "worked": NEW,
            "unproven": False,
        },
        "summary": said,
    }


def test_a_host_without_the_application_has_no_release() -> None:
    assert host_release({"skipped": True}, {}, {}, "new")["release_id"] == ""
