"""The playbooks' own shape: what stops a deployment, what is said, what a dry run may do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.unit.rendering import GROUPS, ROLES, ROOT, load, plays, task_files, walk_tasks

KEYWORDS = {
    *("name", "when", "register", "vars", "loop", "loop_control", "until", "retries", "delay", "notify", "tags"),
    *(
        "become",
        "become_user",
        "delegate_to",
        "run_once",
        "no_log",
        "check_mode",
        "diff",
        "changed_when",
        "failed_when",
    ),
    *(
        "delegate_facts",
        "ignore_unreachable",
        "environment",
        "args",
        "block",
        "rescue",
        "always",
        "async",
        "poll",
        "throttle",
        "any_errors_fatal",
        "timeout",
    ),
}
COMMANDS = {"ansible.builtin.command", "ansible.builtin.shell"}
PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))
# A play that goes on after an error, and why.
MAY_GO_ON = {"Prove it": "each host says for itself whether it is healthy; nothing comes after"}
# A task that may not reach a host, and why.
MAY_BE_DOWN = {"Ask the hosts that LIMIT= leaves out for what the others are told": "it may be left out for being down"}


def everything() -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every task of the playbooks and roles, with where it is."""
    lists: list[tuple[str, list[Any]]] = [
        (f"{path.name}: {play['name']}", play.get("tasks", [])) for path in PLAYBOOKS for play in load(path)
    ]
    lists += [(str(path.relative_to(ROOT)), load(path)) for path in sorted((ROOT / "playbooks/tasks").glob("*.yml"))]
    lists += [(str(path.relative_to(ROOT)), load(path) or []) for role in ROLES for path in task_files(role)]
    for where, tasks in lists:
        for task in walk_tasks(tasks):
            yield f"{where}: {task.get('name')}", task


def module(task: Mapping[str, Any]) -> str:
    """The module that a task runs; empty for a block."""
    (*names,) = [key for key in task if key not in KEYWORDS]
    assert len(names) == (0 if "block" in task else 1), f"{task.get('name')}: {names}"
    return str(names[0]) if names else ""


TASKS = dict(everything())


@pytest.fixture(params=list(TASKS))
def task(request: pytest.FixtureRequest) -> Mapping[str, Any]:
    return TASKS[request.param]


def test_no_two_tasks_of_a_list_have_one_name() -> None:
    names = [where for where, _ in everything()]
    assert sorted(set(names)) == sorted(names)


def test_every_task_is_named_as_a_sentence(task: Mapping[str, Any]) -> None:
    assert re.match(r"[A-Z].*[^.]$", task["name"])


def test_every_module_is_named_in_full(task: Mapping[str, Any]) -> None:
    assert re.fullmatch(r"|[a-z_]+\.[a-z_]+\.[a-z_]+", module(task)), module(task)


def test_no_error_is_ignored(task: Mapping[str, Any]) -> None:
    assert "ignore_errors" not in task
    assert "ignore_unreachable" not in task or task["name"] in MAY_BE_DOWN


def test_commands_say_what_they_change(task: Mapping[str, Any]) -> None:
    if module(task) in COMMANDS:
        arguments = {**task[module(task)], **task.get("args", {})} if isinstance(task[module(task)], Mapping) else {}
        assert "changed_when" in task or "creates" in arguments


def test_what_runs_in_a_dry_run_says_that_it_changes_nothing(task: Mapping[str, Any]) -> None:
    if task.get("check_mode") is False:
        assert "changed_when" in task


def test_output_is_hidden_only_where_a_secret_passes(task: Mapping[str, Any]) -> None:
    # Modules of ours and of the collections hide their secrets themselves, and go on saying what they did.
    if task.get("no_log"):
        assert re.search(r"password|secret|token", str(task))


def test_secrets_are_in_no_command(task: Mapping[str, Any]) -> None:
    if module(task) in COMMANDS:
        assert not re.search(r"password|secret_key|_url\b|_backend\b", str(task[module(task)]))


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: path.name)
def test_every_play_says_where_it_runs_and_asks_for_no_facts(path: Path) -> None:
    for play in load(path):
        assert re.match(r"[A-Z].*[^.]$", play["name"])
        assert play["hosts"]
        assert play["gather_facts"] is False, f"{play['name']}: facts are gathered once, by a task"


def test_an_error_on_one_host_stops_all() -> None:
    for play in plays():
        assert play.get("any_errors_fatal") is True or play["name"] in MAY_GO_ON, play["name"]


def test_everything_is_checked_and_built_before_anything_is_touched() -> None:
    first, *_ = plays()
    assert first["hosts"] == "all"
    assert first["any_errors_fatal"] is True
    roles = [task["ansible.builtin.import_role"] for task in first["tasks"] if "ansible.builtin.import_role" in task]
    assert [(role["name"], role.get("tasks_from", "main.yml")) for role in roles] == [
        ("platform", "main.yml"),
        ("platform", "build.yml"),
        ("platform", "find.yml"),
    ]
    ours = {"celery_on_hosts.platform.preflight", "celery_on_hosts.platform.release_build"}  # on the controller
    ours |= {"celery_on_hosts.platform.releases", "ansible.builtin.setup", "ansible.builtin.assert"}  # only ask
    ours |= {"ansible.builtin.import_tasks"}
    for name in ("main", "told", "build", "find"):
        for task in walk_tasks(load(ROOT / f"roles/platform/tasks/{name}.yml")):
            assert module(task) in ours


def test_what_others_have_on_a_host_is_looked_for_before_it_is_touched() -> None:
    """A release looks at nothing but what the platform has unpacked, and costs nothing for it."""
    _, second, *_ = plays()
    (role,) = [task["ansible.builtin.import_role"] for task in second["tasks"]]
    assert (second["hosts"], role["tasks_from"]) == ("all", "prepare.yml")
    first, *_ = load(ROOT / "roles/platform/tasks/prepare.yml")
    assert module(first) == "celery_on_hosts.platform.host_conflicts"
    assert "tags" not in first
    assert "tags" not in second


def test_the_last_step_is_the_proof() -> None:
    last = plays()[-1]
    (*_, task) = [
        task for task in last["tasks"] if task.get("ansible.builtin.import_role", {}).get("tasks_from") == "prove.yml"
    ]
    assert task


def test_passwords_of_before_are_removed_when_nothing_needs_them() -> None:
    names = [play["name"] for play in plays()]
    order = ["Run the application and Flower", "Wait until nothing needs the passwords of before"]
    order += ["Remove the passwords of before", "Prove it"]
    assert sorted(order, key=names.index) == order
    for play, name in zip(order[1:3], ("What runs has the new ones", "From all services"), strict=True):
        (condition,) = [
            task["when"] for one in plays() if one["name"] == play for task in one["tasks"] if task["name"] == name
        ]
        assert condition.startswith("_platform_replaces"), "it costs nothing otherwise"
    for task in load(ROOT / "playbooks/tasks/retire.yml"):
        role = task["ansible.builtin.import_role"]
        assert role["tasks_from"] != "retire.yml" or task["when"].startswith("not _platform_left_out")


def test_hosts_are_chosen_by_the_groups_alone() -> None:
    for play in plays():
        assert set(play["hosts"].split(":")) <= {"all", *GROUPS}, play["name"]
