"""What a deployment prints at its end about settings that weaken the promise."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.check_summary import read_summary
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.weaknesses import ACCEPTABLE, weaknesses

from tests.unit.rendering import ROOT

EARLY = {
    "name": "task_acks_late",
    "found": "task_acks_late is False in the application",
    "consequence": "a task is lost when its worker dies while it runs",
    "remedy": "Remove task_acks_late.",
    "once": False,
}
ONCE = EARLY | {"name": "", "found": "task a is gone", "once": True}


def summary(*found: dict[str, Any]) -> dict[str, Any]:
    return {"weaknesses": list(found)}


def test_nothing_is_said_where_nothing_weakens_the_promise() -> None:
    assert weaknesses({"a": summary()}, {}, [], []) == ""
    assert weaknesses({}, {"a": "no JSON\n"}, [], []) == ""


def test_setting_consequence_and_remedy_are_said_once_for_all_hosts() -> None:
    text = weaknesses({"a": summary(EARLY), "b": summary(EARLY)}, {}, [], [])
    assert text.splitlines() == [
        "",
        "1 setting weakens the promise that no accepted task is lost:",
        "1. task_acks_late is False in the application",
        "   then: a task is lost when its worker dies while it runs",
        "   do:   Remove task_acks_late.",
        "   or:   celery_accept: [task_acks_late] in the inventory, if it is meant",
    ]


def test_what_is_meant_is_not_said() -> None:
    other = EARLY | {"name": "task_queues", "found": "queue x"}
    text = weaknesses({"a": summary(EARLY, other)}, {}, [], ["task_acks_late"])
    assert "task_acks_late is False" not in text
    assert "1. queue x" in text


def test_a_check_of_this_run_replaces_what_is_recorded() -> None:
    checked = f"the application prints this\n{json.dumps(summary(ONCE))}\n"
    text = weaknesses({"a": summary(EARLY)}, {"a": checked}, [], [])
    assert text.startswith("\nThe release before had what this one has not:\n1. task a is gone\n")
    assert "is False" not in text
    assert "celery_accept" not in text, "it has no name"


def test_what_is_said_of_the_step_to_a_release_is_not_repeated() -> None:
    assert weaknesses({"a": summary(ONCE)}, {}, [], []) == ""


def test_warnings_of_preflight_are_said_again() -> None:
    text = weaknesses({"a": summary(EARLY)}, {}, ["celery_redis_transport\n   found:   stock"], [])
    assert "2 settings weaken" in text
    assert "2. celery_redis_transport" in text


def test_a_release_may_know_more_names_than_the_controller() -> None:
    text = weaknesses({"a": summary(EARLY | {"name": "of_tomorrow"})}, {}, [], [])
    assert "task_acks_late is False" in text
    assert "celery_accept" not in text


@pytest.mark.parametrize("output", ["", "{", "[]", "{}\n{not json}"])
def test_output_without_a_summary(output: str) -> None:
    assert read_summary(output) == {}


def test_each_name_is_documented() -> None:
    text = (ROOT / "docs/settings.md").read_text()
    section = text.partition("## What weakens the promise")[2].partition("\n## ")[0]
    rows = dict(line.strip("| ").split(" | ", 1) for line in section.splitlines() if line.startswith("| `"))
    assert rows == {f"`{name}`": meaning for name, meaning in ACCEPTABLE.items()}
