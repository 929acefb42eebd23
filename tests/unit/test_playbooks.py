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
VERBS = sorted((ROOT / "playbooks").glob("*.yml"))
PLAYBOOKS = [*VERBS, *sorted((ROOT / "playbooks/plays").glob("*.yml"))]
# A play that goes on after an error, and why.
MAY_GO_ON = {"Prove it": "each host says for itself whether it is healthy; nothing comes after"}
# A task that may not reach a host, and why.
MAY_BE_DOWN = {"Gather facts of the service hosts that LIMIT= leaves out": "an outage may be why LIMIT= was used"}


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
        assert "tags" not in play, "a verb is a playbook"
        if "ansible.builtin.import_playbook" in play:
            continue
        assert play["hosts"]
        assert play["gather_facts"] is False, f"{play['name']}: facts are gathered once, by a task"


def test_an_error_on_one_host_stops_all() -> None:
    for play in plays():
        assert play.get("any_errors_fatal") is True or play["name"] in MAY_GO_ON, play["name"]


def roles_of(play: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The roles that a play imports, each with its file of tasks."""
    tasks = play.get("tasks", [])
    roles = [task["ansible.builtin.import_role"] for task in tasks if "ansible.builtin.import_role" in task]
    return [(role["name"], role.get("tasks_from", "main.yml")) for role in roles]


def test_everything_is_checked_and_built_before_anything_is_touched() -> None:
    check, _, build, *_ = plays()
    assert check["hosts"] == build["hosts"] == "all"
    assert check["any_errors_fatal"] is build["any_errors_fatal"] is True
    assert roles_of(check) == [
        ("platform", "gather_other_hosts.yml"),
        ("platform", "main.yml"),
        ("platform", "describe.yml"),
    ]
    assert roles_of(build) == [
        ("platform", "check_credentials.yml"),
        ("platform", "build_application.yml"),
        ("platform", "build_flower.yml"),
    ]
    ours = {"preflight", "model", "release_build"}  # on the controller
    ours |= {"releases"}  # only asks
    harmless = {f"celery_on_hosts.platform.{name}" for name in ours}
    harmless |= {f"ansible.builtin.{name}" for name in ("setup", "assert", "debug", "import_tasks", "set_fact")}
    files = [name for play in (check, build) for _, name in roles_of(play)]
    for name in files:
        for task in walk_tasks(load(ROOT / f"roles/platform/tasks/{name}")):
            assert module(task) in harmless


@pytest.mark.parametrize(
    "path", [path for path in VERBS if "plays/check.yml" in path.read_text()], ids=lambda path: path.name
)
def test_every_verb_that_changes_hosts_checks_first(path: Path) -> None:
    first, *_ = plays(path)
    assert first["name"] == "Check everything before anything is touched"


@pytest.mark.parametrize("path", VERBS, ids=lambda path: path.name)
def test_every_verb_that_changes_hosts_has_the_deploy_lock(path: Path) -> None:
    roles = [role for play in plays(path) for role in roles_of(play)]
    names = [name for role, name in roles if role == "platform"]
    if "main.yml" in names and path.stem != "show":
        assert names.count("take_deploy_lock.yml") == 1
        assert names[-1] == "free_deploy_lock.yml"
        # Each host may be the first of the play that frees the lock, and has to know that the lock was taken.
        (taken,) = [play for play in plays(path) if ("platform", "take_deploy_lock.yml") in roles_of(play)]
        assert taken["hosts"] == plays(path)[-1]["hosts"] == "all"
        changing = {"prepare_host.yml", "unpack_releases.yml", "mark_drained.yml", "make_new_passwords.yml"}
        for name in changing & set(names):
            assert names.index("take_deploy_lock.yml") < names.index(name)


@pytest.mark.parametrize("path", VERBS, ids=lambda path: path.name)
def test_credentials_are_checked_before_a_host_is_changed(path: Path) -> None:
    names = [name for play in plays(path) for role, name in roles_of(play) if role == "platform"]
    changing = {"prepare_host.yml", "unpack_releases.yml", "mark_drained.yml"}
    for name in changing & set(names):
        assert names.index("check_credentials.yml") < names.index(name)


def test_every_verb_has_a_playbook() -> None:
    verbs = set(re.findall(r"playbooks/([a-z_]+)\.yml", (ROOT / "Makefile").read_text()))
    verbs |= {"drain", "undrain"}  # playbooks/$@.yml
    assert {path.stem for path in VERBS} - {"lab", "lab_destroy"} == verbs


def test_what_others_have_on_a_host_is_looked_for_before_it_is_touched() -> None:
    """A release looks at nothing but what the platform has unpacked, and costs nothing for it."""
    _, _, _, prepare, *_ = plays()
    assert (prepare["hosts"], roles_of(prepare)) == ("all", [("platform", "prepare_host.yml")])
    first, *_ = load(ROOT / "roles/platform/tasks/prepare_host.yml")
    assert module(first) == "celery_on_hosts.platform.host_conflicts"
    released = [role for play in plays(ROOT / "playbooks/release.yml") for role in roles_of(play)]
    assert ("platform", "prepare_host.yml") not in released


def test_nothing_is_removed_unless_that_is_asked_for_by_name() -> None:
    """And on no host a service stops before the programs of all hosts have finished."""
    plan, stop, remove = load(ROOT / "playbooks/plays/remove.yml")
    first, told = plan["tasks"]
    assert first["check_mode"] is True
    assert module(told) == "ansible.builtin.debug"
    for play in (plan, stop, remove):
        assert play["vars"]["remove_confirmed"] is False
        assert play["vars"].get("remove_data", False) is False
        assert "serial" not in play
    asked = "remove_confirmed and not ansible_check_mode"
    changing = [task for play in (stop, remove) for task in play["tasks"] if module(task) != "ansible.builtin.debug"]
    assert all(task["when"].startswith(asked) for task in changing)
    first, *_ = [module(task) for task in changing]
    assert first == "celery_on_hosts.platform.supervisor_programs"
    assert [module(task) for task in changing if task in remove["tasks"]] == ["celery_on_hosts.platform.removal"]


def test_the_last_step_is_the_proof() -> None:
    *_, last, finish = plays()
    assert roles_of(finish) == [("platform", "free_deploy_lock.yml")]
    (*_, task) = [
        task for task in last["tasks"] if task.get("ansible.builtin.import_role", {}).get("tasks_from") == "prove.yml"
    ]
    assert task


def test_previous_credentials_are_removed_when_nothing_needs_them() -> None:
    names = [play["name"] for play in plays()]
    order = ["Run the application and Flower", "Wait until no program needs the previous credentials"]
    order += ["Remove the previous credentials", "Prove it"]
    assert sorted(order, key=names.index) == order
    for name in order[1:3]:
        (task,) = [task for play in plays() if play["name"] == name for task in play["tasks"]]
        assert "platform_rotates_credentials" in task["when"], "it costs nothing otherwise"
    for task in load(ROOT / "playbooks/tasks/remove_previous_credentials.yml"):
        role = task["ansible.builtin.import_role"]
        assert role["name"] == "platform" or task["when"].startswith("not _not_renewed")


def test_hosts_are_chosen_by_the_groups_alone() -> None:
    for play in [play for path in VERBS if not path.stem.startswith(("lab", "status")) for play in plays(path)]:
        if play["hosts"] in ("localhost", "lab"):
            continue
        assert set(play["hosts"].split(":")) <= {"all", *GROUPS}, play["name"]
