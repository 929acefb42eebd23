"""One run at a time deploys; another is told who does, since when, and what to do."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.celery_on_hosts.platform.plugins.callback.deploy_lock import run_within
from ansible_collections.celery_on_hosts.platform.plugins.modules.deploy_lock import duration, refusal
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils import playbook_run

from tests.unit.modules import run_module

ROOT = Path(__file__).resolve().parents[3]
MODULE = "celery_on_hosts.platform.deploy_lock"
ALICE = {"run": "a1", "user": "alice", "controller": "laptop", "machine": "m", "pid": 11, "started": 5}
BOB = {"run": "b2", "user": "bob", "controller": "ci", "machine": "n", "pid": 22, "started": 6}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run/deploy.json"


def lock(path: Path, holder: dict[str, Any], *, check: bool = False, **options: Any) -> dict[str, Any]:
    """Run the module as one run of ansible-playbook."""
    return run_module("deploy_lock", check=check, path=str(path), holder=holder, **options)


def held_by(path: Path) -> str | None:
    """Return the id of the run that the file names."""
    return str(json.loads(path.read_text())["run"]) if path.exists() else None


# --- the module


def test_a_free_lock_is_taken_and_freed_without_a_change(path: Path) -> None:
    taken = lock(path, ALICE, verb="release")
    assert (taken["held"], taken["changed"], taken["replaced"]) == (True, False, {})
    found = json.loads(path.read_text())
    assert found == ALICE | {"verb": "release", "since": found["since"]}
    assert abs(found["since"] - time.time()) < 60
    assert path.stat().st_mode & 0o777 == 0o644
    freed = lock(path, ALICE, state="free")
    assert (freed["held"], freed["changed"], freed["holder"]) == (False, False, {})
    assert not any(path.parent.iterdir())


def test_a_run_may_take_its_lock_again(path: Path) -> None:
    first = lock(path, ALICE, verb="drain")
    again = lock(path, ALICE, verb="deploy")
    assert again["held"]
    assert again["holder"] == first["holder"], "since when does not change"


def test_another_run_is_refused_in_words(path: Path) -> None:
    lock(path, ALICE, verb="rollback")
    refused = lock(path, BOB, verb="release")
    assert refused["failed"]
    assert refused["holder"]["run"] == "a1"
    for words in (
        "alice@laptop",
        "`make rollback`",
        "process 11",
        "wait until that run is over",
        "make release UNLOCK=1",
    ):
        assert words in refused["msg"]
    assert held_by(path) == "a1"


def test_what_a_refused_run_is_told() -> None:
    holder = ALICE | {"verb": "deploy", "since": 1_800_000_000}
    assert refusal(holder, "release", 1_800_000_000 + 200) == (
        "Nothing was changed: alice@laptop has been running `make deploy` for 3 min, since 2027-01-15 08:00:00 UTC, as "
        "process 11. Two runs at once would undo each other's work.\n"
        "What to do: wait until that run is over. If it is known to be over (its controller is gone, for example): "
        "make release UNLOCK=1 (celery_unlock: true)"
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-3, "0 s"), (59.9, "59 s"), (60, "1 min"), (7500, "2 h 5 min"), (90_000, "25 h 0 min"), (200_000, "2 days")],
)
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize("options", [{"force": True}, {"ended": "a1"}])
def test_a_lock_of_another_run_is_taken_over_when_asked_to(path: Path, options: dict[str, Any]) -> None:
    lock(path, ALICE, verb="deploy")
    taken = lock(path, BOB, **options)
    assert (taken["held"], taken["replaced"]["run"], held_by(path)) == (True, "a1", "b2")


def test_a_lock_is_taken_over_from_the_run_that_has_ended_and_from_no_other(path: Path) -> None:
    """Another run may have taken the lock since this one saw whose it was."""
    lock(path, ALICE)
    assert lock(path, BOB, ended="c3")["failed"]


def test_only_the_holder_frees_the_lock(path: Path) -> None:
    lock(path, ALICE)
    freed = lock(path, BOB, state="free")
    assert not freed.get("failed")
    assert freed["holder"]["run"] == held_by(path) == "a1"


def test_a_lock_that_is_gone_is_free(path: Path) -> None:
    """The host may have been restarted."""
    assert lock(path, ALICE, state="free")["holder"] == {}


def test_a_dry_run_takes_and_frees_nothing(path: Path) -> None:
    assert not lock(path, ALICE, check=True)["held"]
    assert not path.parent.exists()
    lock(path, ALICE)
    lock(path, ALICE, check=True, state="free")
    assert held_by(path) == "a1"


def test_a_dry_run_is_refused_too(path: Path) -> None:
    lock(path, ALICE)
    assert "alice@laptop" in lock(path, BOB, check=True)["msg"]
    assert not lock(path, BOB, check=True, force=True)["held"]
    assert held_by(path) == "a1"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"run": "x"}'])
def test_what_no_run_has_written_holds_nobody_up(path: Path, text: str) -> None:
    path.parent.mkdir()
    path.write_text(text)
    assert lock(path, ALICE)["held"]


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = lock(tmp_path / "file/deploy.json", ALICE)
    assert refused["msg"] == f"The deploy lock {tmp_path}/file/deploy.json cannot be read or written: File exists"


def test_one_of_several_that_ask_at_once_gets_the_lock(path: Path) -> None:
    """Each is a process of its own. First nobody holds the lock, then a run that all know to be over."""
    fork = multiprocessing.get_context("fork")
    answers = fork.Queue()

    def ask(number: int, ended: str) -> None:
        answers.put(lock(path, ALICE | {"run": f"r{number}"}, ended=ended))

    for ended in ("", "a1"):
        for number in range(6):
            fork.Process(target=ask, args=[number, ended]).start()
        said = [answers.get(timeout=60) for _ in range(6)]
        assert [answer["holder"]["run"] for answer in said if answer["held"]] == [held_by(path)]
        path.write_text(json.dumps(json.loads(path.read_text()) | {"run": "a1"}))


# --- who runs


def test_a_run_has_one_id_and_is_known_to_run() -> None:
    here = playbook_run.describe(os.getpid())
    assert here == playbook_run.describe(os.getpid())
    assert not playbook_run.has_ended(here)


def test_a_run_that_was_killed_has_ended_also_before_anybody_has_waited_for_it() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        run = playbook_run.describe(process.pid)
        assert not playbook_run.has_ended(run)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert playbook_run.has_ended(run)
    assert playbook_run.has_ended(run)


def test_a_later_process_of_the_same_number_is_another() -> None:
    here = playbook_run.describe(os.getpid())
    assert playbook_run.has_ended(here | {"started": here["started"] - 1})


@pytest.mark.parametrize("elsewhere", [{"controller": "other"}, {"machine": "other"}])
def test_nothing_is_known_of_a_run_elsewhere(elsewhere: dict[str, str]) -> None:
    here = playbook_run.describe(os.getpid())
    assert not playbook_run.has_ended(here | {"started": 1} | elsewhere)


def test_nothing_is_known_without_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(playbook_run, "PROC", tmp_path)
    here = playbook_run.describe(os.getpid())
    assert (here["machine"], here["started"]) == ("", 0)
    assert not playbook_run.has_ended(here | {"started": 1})


# --- with ansible-playbook


TAKE: dict[str, Any] = {"name": "Take", MODULE: {"path": "{{ path }}", "force": "{{ force | default(false) }}"}}
FREE: dict[str, Any] = {"name": "Free", MODULE: {"path": "{{ path }}", "state": "free"}}
PAUSE: dict[str, Any] = {"name": "Work", "ansible.builtin.command": "sleep 60"}
FAIL: dict[str, Any] = {"name": "Fail", "ansible.builtin.command": "false"}
DOWN = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
KEEPER = {"delegate_to": "keeper", "run_once": True}


@contextmanager
def playing(
    folder: Path,
    *tasks: dict[str, Any],
    strategy: str = "linear",
    limit: str = "",
    down: bool = False,
    **variables: Any,
) -> Iterator[Any]:
    """Start ansible-playbook for the host `a`; the host `keeper` keeps the lock. Both are this machine.

    Args:
        folder: for the inventory, the playbook and the lock.
        tasks: those of the play.
        strategy: how Ansible runs tasks.
        limit: the hosts that are not left out; empty leaves out none.
        down: whether `keeper` cannot be reached.
        variables: those of --extra-vars.
    """
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    hosts = {"all": {"hosts": {"a": {}, "keeper": DOWN if down else {}}, "vars": local}}
    (folder / "hosts.yml").write_text(yaml.safe_dump(hosts))
    listed = [task | KEEPER if MODULE in task else task for task in tasks]
    (folder / "play.yml").write_text(yaml.safe_dump([{"hosts": "a", "gather_facts": False, "tasks": listed}]))
    given = json.dumps(variables | {"path": str(folder / "run/deploy.json")})
    with subprocess.Popen(
        [
            Path(sys.executable).with_name("ansible-playbook"),
            "-i",
            folder / "hosts.yml",
            *(["--limit", limit] if limit else []),
            "-e",
            given,
            folder / "play.yml",
        ],
        cwd=ROOT,
        env=os.environ | {"ANSIBLE_STRATEGY": strategy, "COLUMNS": "1000"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def play(folder: Path, *tasks: dict[str, Any], **options: Any) -> str:
    """Run the play to its end, and return what was said."""
    with playing(folder, *tasks, **options) as process:
        return str(process.communicate()[0])


def wait_for(path: Path) -> None:
    """Wait until the lock is taken."""
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1)  # until ansible-playbook knows that the lock is taken, and its next task runs


MITOGEN = "celery_on_hosts.platform.linear"
each_strategy = pytest.mark.parametrize("strategy", ["linear", MITOGEN])


@each_strategy
def test_a_run_that_succeeds_frees_its_lock_itself(tmp_path: Path, path: Path, strategy: str) -> None:
    said = play(tmp_path, TAKE, TAKE | {"name": "Take again"}, FREE, strategy=strategy)
    assert "nothing to change" in said
    assert "deploy lock" not in said
    assert not path.exists()


@each_strategy
def test_the_lock_of_a_run_that_fails_is_freed(tmp_path: Path, path: Path, strategy: str) -> None:
    assert "a failed: Fail" in play(tmp_path, TAKE, FAIL, FREE, strategy=strategy)
    assert path.parent.exists()
    assert not path.exists()


@pytest.mark.parametrize(
    ("strategy", "number"),
    [("linear", signal.SIGINT), (MITOGEN, signal.SIGINT), (MITOGEN, signal.SIGTERM), ("linear", signal.SIGHUP)],
)
def test_the_lock_of_a_run_that_is_interrupted_is_freed(
    tmp_path: Path, path: Path, strategy: str, number: signal.Signals
) -> None:
    with playing(tmp_path, TAKE, PAUSE, FREE, strategy=strategy) as process:
        wait_for(path)
        process.send_signal(number)
        said = process.communicate(timeout=40)[0]
    assert "Freeing the deploy lock on keeper" in said
    assert process.returncode == 99, "as Ansible ends after Ctrl-C"
    assert not path.exists()


def test_the_lock_of_a_run_that_was_killed_is_taken_over_on_the_same_machine(tmp_path: Path, path: Path) -> None:
    with playing(tmp_path, TAKE, PAUSE, strategy=MITOGEN) as process:
        wait_for(path)
        assert json.loads(path.read_text())["pid"] == process.pid
        said = play(tmp_path, TAKE, FREE)
        assert f"as process {process.pid}. Two runs at once" in said, "it still runs"
        process.kill()
        process.wait()
        said = play(tmp_path, TAKE, FREE)
    assert f"process {process.pid}: its process has ended on this machine." in said
    assert not path.exists()


@each_strategy
def test_an_outage_of_who_keeps_the_lock_stops_no_run_that_leaves_that_host_out(tmp_path: Path, strategy: str) -> None:
    free = FREE | {"register": "lock", "when": "lock.held"}
    said = play(tmp_path, TAKE | {"register": "lock"}, free, strategy=strategy, limit="a", down=True)
    assert "This run has no deploy lock: keeper keeps it and cannot be reached" in said
    assert "nothing to change" in said
    assert "could not be reached: Take" in play(tmp_path, TAKE, free, strategy=strategy, down=True)


def test_a_lock_from_elsewhere_is_broken_by_unlock_alone(tmp_path: Path, path: Path) -> None:
    path.parent.mkdir()
    path.write_text(json.dumps(ALICE | {"verb": "deploy", "since": time.time() - 7500}))
    said = play(tmp_path, TAKE, FREE)
    assert "alice@laptop has been running `make deploy` for 2 h 5 min" in said
    said = play(tmp_path, TAKE, FREE, force=True)
    assert "Took over the deploy lock from `make deploy` of alice@laptop, process 11: UNLOCK=1" in said
    assert not path.exists()


def test_a_run_that_lost_its_lock_is_told(tmp_path: Path, path: Path) -> None:
    content = json.dumps(BOB | {"verb": "deploy", "since": 0})
    broken = {"name": "Break", "ansible.builtin.copy": {"dest": "{{ path }}", "content": content, "mode": "0644"}}
    assert "bob@ci took it over with `make deploy UNLOCK=1`" in play(tmp_path, TAKE, broken, FREE)
    assert held_by(path) == "b2"


# --- the end of a run


def test_a_command_that_takes_too_long_is_killed_with_what_it_started(tmp_path: Path) -> None:
    begun = time.monotonic()
    assert "within 3 s" in run_within(["sh", "-c", f"sleep 60 & echo $! > {tmp_path}/pid; wait"], 3)
    while playbook_run.started(int((tmp_path / "pid").read_text())):
        assert time.monotonic() - begun < 30
        time.sleep(0.05)


def test_a_command_that_fails_says_why() -> None:
    assert run_within(["sh", "-c", "echo no; echo such host >&2; exit 4"], 10) == "no such host"
    answer = """keeper | UNREACHABLE! => {"changed": false, "msg": "No route to \\"keeper\\"", "unreachable": true}"""
    assert run_within(["sh", "-c", f"printf '%s' '{answer}'; exit 4"], 10) == 'No route to "keeper"'
    assert run_within(["true"], 10) == ""
