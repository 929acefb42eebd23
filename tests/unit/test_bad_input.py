"""Wrong inventories, with a real ansible-playbook: each is refused before anything is touched, in the right words.

What runs is the check of `playbooks/site.yml` alone, against a host that is this process's own machine: if the check
let something through, there would be nothing behind it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.rendering import GROUPS, ROOT

GOOD: dict[str, Any] = {"celery_app_source": str(ROOT / "app")}
BAD: dict[str, Any] = {
    "celery_broker": "rabitmq",
    "celery_app_source": "/nowhere/app",
    "celery_workers": [
        {"name": "celery", "queues": ["celery"], "pol": "solo"},
        {"name": "low", "queues": ["low"], "pool": "fork"},
        {"name": "low", "queues": ["low"]},
    ],
    "celery_queues": ["celery", "low", "mail"],
    "celery_time_limit": 900,
    "celery_web_port": "80",
    "celery_web_enabeld": False,
}
WORDS = {
    "unknown broker": ["celery_broker\n", "found:   'rabitmq'", "allowed: rabbitmq or redis", "Did you mean rabbitmq?"],
    "missing folder": ["celery_app_source\n", "found:   /nowhere/app, which does not exist"],
    "two programs of one name": ["two workers named low (entries 2 and 3), so two programs celery-low"],
    "unknown key": ["celery_workers: celery: pol\n", "Did you mean pool?"],
    "unknown pool": ["celery_workers: low: pool\n", "'fork'", "prefork, threads, gevent, eventlet, solo"],
    "queue that nobody reads": ["mail"],
    "limits in the wrong order": ["celery_time_limit", "900"],
    "number in quotes": ["celery_web_port\n", "found:   '80'", "without quotes"],
    "unknown variable": ["celery_web_enabeld\n", "Did you mean celery_web_enabled?"],
}


def inventory_of(folder: Path, variables: Mapping[str, Any], *workers: str, **host: Any) -> Path:
    """An inventory of one host, a.

    Args:
        folder: an empty one.
        variables: what the inventory sets.
        workers: further hosts, which only work.
        host: how to connect.
    """
    inventory = folder / "inventory"
    inventory.mkdir()
    hosts = {name: {"hosts": {"a": host}} for name in GROUPS}
    hosts["workers"]["hosts"] |= dict.fromkeys(workers, host)
    (inventory / "hosts.yml").write_text(yaml.safe_dump({**hosts, "all": {"vars": dict(variables)}}))
    return inventory


def run_playbook(*words: Path | str) -> str:
    """Run ansible-playbook, and return what it says."""
    run = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), *words],
        cwd=ROOT,
        env=os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "COLUMNS": "500"},
        capture_output=True,
        text=True,
        check=False,
    )
    return f"exit {run.returncode}\n{run.stdout}{run.stderr}"


def check(folder: Path, variables: Mapping[str, Any], *, connect: bool = False, **host: Any) -> str:
    """Run the check on an inventory of one host, and return what is said of it.

    Args:
        folder: an empty one.
        variables: what the inventory sets.
        connect: also connect to the host, for its facts.
        host: how to connect.
    """
    inventory = inventory_of(folder, variables, **host)
    (play,) = yaml.safe_load((ROOT / "playbooks/plays/check.yml").read_text())
    play["tasks"] = [
        task
        for task in play["tasks"]
        if task.get("ansible.builtin.import_role", {}).get("tasks_from") is None
        and (connect or "ansible.builtin.setup" not in task)
    ]
    playbook = folder / "check.yml"
    playbook.write_text(yaml.safe_dump([play], sort_keys=False))
    return run_playbook("-i", inventory, playbook)


LOCAL: dict[str, Any] = {
    "ansible_connection": "local",
    "ansible_become": False,
    "ansible_python_interpreter": "/usr/bin/python3",
}


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> str:
    return check(tmp_path_factory.mktemp("bad"), BAD, **LOCAL)


@pytest.mark.parametrize("what", WORDS)
def test_what_is_wrong_is_said_all_at_once(refused: str, what: str) -> None:
    assert not refused.startswith("exit 0")
    assert "Nothing was changed: the inventory has" in refused
    for words in WORDS[what]:
        assert words in refused


def test_what_is_right_is_let_through(tmp_path: Path) -> None:
    said = check(tmp_path, GOOD, **LOCAL)
    assert said.startswith("exit 0"), said
    assert not (tmp_path / "inventory/secrets").exists(), "a check makes no secrets"


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ({"ansible_host": "127.0.0.1", "ansible_port": 1}, ["could not be reached", "What to do:", "ansible_port"]),
        (
            LOCAL | {"ansible_python_interpreter": "/nowhere/python3"},
            ["The host has no Python", "apt-get install python3"],
        ),
        (
            LOCAL | {"ansible_become": True, "ansible_become_user": "nobody", "ansible_become_exe": "/nowhere/sudo"},
            ["The host has no sudo", "apt-get install sudo"],
        ),
    ],
    ids=["unreachable", "no Python", "no sudo"],
)
def test_a_host_that_cannot_be_used_is_said(tmp_path: Path, host: dict[str, Any], words: list[str]) -> None:
    said = check(tmp_path, GOOD, connect=True, **host)
    assert not said.startswith("exit 0"), said
    for word in words:
        assert word in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("restart.yml", "-e", "restart_program=celry"),
            "Nothing was restarted: there is no program celry. There are: celery, celery-low, celerybeat, web, flower",
        ),
        (("drain.yml", "-e", "drain_host=c"), "c was given, and HOST=… has to be one of: a, b"),
        (("undrain.yml", "-e", "drain_host="), "no host was given, and HOST=… has to be one of: a, b"),
        (
            ("drain.yml", "-e", "drain_host=b"),
            "Nothing was changed: without b no worker would read low, mail. Give a worker on another host these queues",
        ),
        (
            ("site.yml", "-e", "celery_release=last"),
            "allowed: new, previous, current, or an id that `make releases` shows",
        ),
        (("site.yml", "--limit", "a,bb"), "found:   bb\n     allowed: hosts and groups of the inventory"),
    ],
    ids=["no such program", "no such host", "no host", "the only reader of a queue", "no id", "no such limit"],
)
def test_a_verb_refuses_what_it_cannot_do(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    host = LOCAL | {"ansible_become_exe": "/nowhere/sudo"}  # were anything let through, it would end there
    playbooks = [f"playbooks/{word}" if word.endswith(".yml") else word for word in words]
    workers = [{"name": "celery", "queues": ["celery"]}, {"name": "low", "queues": ["low", "mail"], "hosts": ["b"]}]
    told = run_playbook("-i", inventory_of(tmp_path, GOOD | {"celery_workers": workers}, "b", **host), *playbooks)
    assert not told.startswith("exit 0"), told
    assert said in told, told


def test_a_verb_needs_no_group_that_may_be_left_out(tmp_path: Path) -> None:
    inventory = inventory_of(tmp_path, GOOD, **LOCAL)
    hosts = yaml.safe_load((inventory / "hosts.yml").read_text())
    kept = {name: hosts[name] for name in ("all", "brokers", "results", "workers")}
    (inventory / "hosts.yml").write_text(yaml.safe_dump(kept))
    told = run_playbook("-i", inventory, "playbooks/restart.yml", "-e", "restart_program=web")
    assert "Nothing was restarted: there is no program web. There are: celery" in told, told
    assert "WARNING" not in told, told
