"""Groups, --limit and hosts: what is wrong is refused in the right words."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.preflight.check import check
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.topology import SWITCHES

from tests.unit.plugins.preflight.platforms import platform, words


@pytest.mark.parametrize(
    ("group", "hosts", "expected"),
    [
        ("brokers", [], "exactly one host"),
        ("brokers", ["a", "b"], "2 hosts (a, b)"),
        ("results", [], "exactly one host"),
        ("workers", [], "at least one host"),
        ("beat", ["a", "b"], "at most one host"),
        ("database", ["a", "b"], "at most one host"),
    ],
)
def test_groups(group: str, hosts: list[str], expected: str) -> None:
    state = platform(("a", "b"))
    state["groups"][group] = hosts
    text = words(state)
    assert f"group {group}" in text
    assert expected in text


@pytest.mark.parametrize("group", ["database", "beat", "web", "monitoring", "proxy"])
def test_a_group_may_be_left_out(group: str) -> None:
    state = platform()
    del state["groups"][group]
    assert check(state) == []
    state["groups"][group] = []
    assert check(state) == []


@pytest.mark.parametrize("group", ["brokers", "results", "workers"])
def test_a_group_that_nothing_can_do_without(group: str) -> None:
    state = platform()
    del state["groups"][group]
    assert f"group {group}\n   found:   no host" in words(state)


@pytest.mark.parametrize(("group", "switch"), SWITCHES.items())
def test_a_part_that_the_user_switched_on_needs_a_host(group: str, switch: str) -> None:
    switched_on: dict[str, Any] = {switch: True}
    state = platform(**switched_on)
    del state["groups"][group]
    text = words(state)
    assert f"group {group}\n   found:   no host" in text
    assert f"List a host under {group}, or set {switch}: false." in text


@pytest.mark.parametrize(("wrong", "right"), [("proxies", "proxy"), ("beats", "beat"), ("databases", "database")])
def test_a_misspelt_group_is_said(wrong: str, right: str) -> None:
    state = platform()
    state["groups"][wrong] = state["groups"].pop(right)
    (problem,) = check(state)
    assert (problem.level, problem.variable) == ("warning", f"group {wrong}")
    assert f"Did you mean {right}?" in problem.advice


def test_what_is_switched_off_needs_no_host() -> None:
    names = ("beat", "web", "database", "flower")
    switched_off: dict[str, Any] = {f"celery_{name}_enabled": False for name in names}
    state = platform(**switched_off)
    for group in ("beat", "web", "database", "monitoring", "proxy"):
        state["groups"][group] = []
    assert check(state) == []


@pytest.mark.parametrize("pattern", ["workrs", "bb", "!bb", "&workrs"])
def test_limit_names_what_there_is(pattern: str) -> None:
    state = platform(("a", "b")) | {"limit": ["a", pattern]}
    (problem,) = check(state)
    assert (problem.variable, problem.found) == ("LIMIT= (--limit)", pattern.lstrip("!&"))
    assert (
        check(state | {"limit": ["a", "workers", "!b", "&all", "wor*", "~wor.*", "workers[0]", "@failed.retry"]}) == []
    )


@pytest.mark.parametrize(
    ("off", "expected"),
    [
        (0, []),
        (-100, []),
        (100, []),
        (-300, [("warning", "a clock that is 300 s behind the controller's")]),
        (3600, [("error", "a clock that is 3600 s ahead of the controller's")]),
    ],
)
def test_clocks(off: int, expected: list[tuple[str, str]]) -> None:
    state = platform() | {"now": 1_795_995_000.4}
    state["hosts"]["a"]["facts"] = {"date_time": {"epoch": str(1_795_995_000 + off)}}
    assert [(problem.level, problem.found) for problem in check(state)] == expected


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"distribution": "Ubuntu", "distribution_major_version": "24"}, "Ubuntu 24"),
        ({"distribution": "Debian", "distribution_major_version": "11"}, "Debian 11"),
        ({"architecture": "armv7l"}, "architecture armv7l"),
    ],
)
def test_hosts(facts: dict[str, str], expected: str) -> None:
    state = platform()
    state["hosts"]["a"]["facts"] = facts
    assert expected in words(state)
    assert "host a" in words(state)
