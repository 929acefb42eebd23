"""The module supervisor_programs against a real supervisord."""

from __future__ import annotations

import grp
import json
import os
import pwd
import signal
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celery_on_hosts.platform.plugins.modules import supervisor_programs

from tests.unit.modules import run_module

# What a worker is like here: it takes its time to stop.
WORKER = (
    "import signal, sys, time; "
    "signal.signal(signal.SIGTERM, lambda *_: (time.sleep({stop}), sys.exit())); "
    "time.sleep(600)"
)


# What says that it is ready, some time after it started.
READY = (
    "import json, os, time; time.sleep({wait}); json.dump(dict(pid=os.getpid(), connected=True), open('{file}', 'w')); "
)
EXTENSIONS = Path(__file__).parents[2] / "roles/supervisor/files"


def program(name: str, stop: float = 0, mark: str = "", ready: str = "") -> str:
    """Return a section for supervisord, as the roles' templates write it."""
    command = f'{sys.executable} -c "{ready}{WORKER.format(stop=stop)}"'
    return f'[program:{name}]\ncommand={command}\nstartsecs=0\nstopwaitsecs=20\nenvironment=MARK="{mark}"\n\n'


HANDOVER = "[rpcinterface:handover]\nsupervisor.rpcinterface_factory=supervisor_handover:make_interface\n"


class Supervisord:
    """A supervisord of this test alone."""

    def __init__(self, folder: Path, extended: bool = True) -> None:
        self.programs = folder / "conf.d"
        self.programs.mkdir()
        self.socket = folder / "s"
        self.configuration = folder / "supervisord.conf"
        self.configuration.write_text(
            f"[unix_http_server]\nfile={self.socket}\n"
            f"[supervisord]\nlogfile={folder}/log\npidfile={folder}/pid\nchildlogdir={folder}\nnodaemon=true\n"
            "[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
            f"{HANDOVER if extended else ''}"
            f"[include]\nfiles={self.programs}/*.conf\n"
        )
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(self.configuration)]
        environment = {**os.environ, "PYTHONPATH": str(EXTENSIONS)}
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
        for _ in range(100):
            if self.socket.exists():
                return
            time.sleep(0.1)
        raise TimeoutError("supervisord does not listen")

    def apply(
        self, content: str | None, owner: str = "celery", timeout: int = 30, check: bool = False, **more: Any
    ) -> dict[str, Any]:
        """Run the module on this supervisord."""
        options = {"directory": str(self.programs), "socket": str(self.socket), "timeout": timeout, **more}
        return run_module("supervisor_programs", check=check, owner=owner, content=content, **options)

    def rpc(self) -> xmlrpc.client.ServerProxy:
        """Return the client of its XML-RPC."""
        return xmlrpc.client.ServerProxy("http://localhost", transport=supervisor_programs._Transport(str(self.socket)))

    def control(self, *words: str) -> str:
        """Return what supervisorctl prints for a command."""
        command = [sys.executable, "-m", "supervisor.supervisorctl", "-s", f"unix://{self.socket}", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    def pids(self) -> dict[str, int]:
        """Return the PID of each program that runs."""
        fields = [line.replace(",", "").split() for line in self.control("status").splitlines()]
        return {field[0]: int(field[3]) for field in fields if field[1:2] == ["RUNNING"]}

    def kill(self) -> None:
        """Kill supervisord and its programs."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        self.process.kill()
        self.process.wait()
        for child in children:
            os.kill(int(child), signal.SIGKILL)


@pytest.fixture
def supervisord(tmp_path: Path) -> Iterator[Supervisord]:
    running = Supervisord(tmp_path)
    yield running
    running.kill()


def test_programs_start_and_a_second_run_changes_nothing(supervisord: Supervisord) -> None:
    content = program("celery") + program("celerybeat")
    assert supervisord.apply(content)["programs"] == {"celery": "started", "celerybeat": "started"}
    pids = supervisord.pids()
    assert set(pids) == {"celery", "celerybeat"}
    again = supervisord.apply(content)
    assert (again["changed"], again["programs"]) == (False, {})
    assert supervisord.pids() == pids


def test_only_the_program_that_changed_restarts(supervisord: Supervisord) -> None:
    supervisord.apply(program("celery") + program("celerybeat"))
    before = supervisord.pids()
    done = supervisord.apply(program("celery", mark="2") + program("celerybeat"))
    after = supervisord.pids()
    assert done["programs"] == {"celery": "restarted"}
    assert after["celery"] != before["celery"]
    assert after["celerybeat"] == before["celerybeat"]


def test_programs_stop_side_by_side(supervisord: Supervisord) -> None:
    names = ["celery", "celery-a", "celery-b"]
    supervisord.apply("".join(program(name, stop=3) for name in names))
    time.sleep(0.5)  # until they have set their signal handlers
    started = time.monotonic()
    done = supervisord.apply("".join(program(name, stop=3, mark="2") for name in names))
    took = time.monotonic() - started
    assert done["programs"] == dict.fromkeys(names, "restarted")
    assert 3 < took < 9, "one after the other they would take 9 s"


def eventually(condition: Callable[[], bool], within: float = 15) -> bool:
    """Return whether a condition becomes true in time."""
    deadline = time.monotonic() + within
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


def test_a_new_process_is_ready_before_the_old_one_goes(supervisord: Supervisord, tmp_path: Path) -> None:
    handover = {"celery": f"{tmp_path}/ready"}
    ready = READY.format(wait=1, file=handover["celery"])
    beat = program("celerybeat")
    assert supervisord.apply(program("celery", stop=25) + beat)["programs"]["celery"] == "started"
    before = supervisord.pids()
    time.sleep(0.5)  # until it has set its signal handler
    begin = time.monotonic()
    done = supervisord.apply(program("celery", mark="2", ready=ready) + beat, handover=handover)
    took = time.monotonic() - begin
    assert done["programs"] == {"celery": "handed over"}
    assert 1 < took < 20, "it waits until the new one is ready, and not until the old one has stopped"
    after = supervisord.pids()
    assert after["celery"] != before["celery"]
    assert after["celerybeat"] == before["celerybeat"]
    assert f"celery-leaving-{before['celery']}" in supervisord.control("status")
    assert Path(f"/proc/{before['celery']}").exists(), "it finishes what it holds"
    os.kill(before["celery"], signal.SIGKILL)  # as if it had
    assert eventually(lambda: "leaving" not in supervisord.control("status")), "forgotten once it has stopped"
    assert supervisord.pids() == after
    again = supervisord.apply(program("celery", mark="2", ready=ready) + beat, handover=handover)
    assert (again["changed"], again["programs"]) == (False, {})
    supervisord.control("restart", "celery")
    assert supervisord.pids().keys() == after.keys()


def test_a_supervisord_of_others_restarts_what_it_cannot_hand_over(tmp_path: Path) -> None:
    supervisord = Supervisord(tmp_path, extended=False)
    try:
        handover = {"celery": f"{tmp_path}/ready"}
        supervisord.apply(program("celery"), handover=handover)
        done = supervisord.apply(program("celery", mark="2"), handover=handover)
        assert done["programs"] == {"celery": "restarted"}
    finally:
        supervisord.kill()


def test_a_new_process_that_does_not_get_ready_is_taken_back(supervisord: Supervisord, tmp_path: Path) -> None:
    supervisord.apply(program("celery"))
    before = supervisord.pids()
    handover = {"celery": f"{tmp_path}/ready"}
    done = supervisord.apply(program("celery", mark="2"), handover=handover, ready_timeout=1)
    assert done["failed"]
    assert done["msg"] == "not ready after 1 s: celery; the old processes keep running"
    assert supervisord.pids() == before
    ready = READY.format(wait=0, file=handover["celery"])
    assert supervisord.apply(program("celery", ready=ready), handover=handover)["programs"] == {"celery": "handed over"}


def test_a_new_process_that_dies_each_time_is_taken_back_at_once(supervisord: Supervisord, tmp_path: Path) -> None:
    supervisord.apply(program("celery"))
    before, began = supervisord.pids(), time.monotonic()
    (tmp_path / "celery.log").write_text("ImportError: no PIL, at amqp://app:secret@broker//\n")
    dies = program("celery", mark="2", ready="raise SystemExit(1); ")
    done = supervisord.apply(dies, handover={"celery": f"{tmp_path}/ready"}, ready_timeout=50, log_folder=str(tmp_path))
    assert done["failed"]
    first, *quoted = done["msg"].splitlines()
    assert first.endswith("celery; the old processes keep running")
    assert quoted == [
        f"The last lines of {tmp_path}/celery.log:",
        "  ImportError: no PIL, at amqp://app:**@broker//",
    ]
    assert time.monotonic() < began + 25
    assert supervisord.pids() == before


def test_none_is_handed_over_where_one_does_not_get_ready(supervisord: Supervisord, tmp_path: Path) -> None:
    handover = {name: f"{tmp_path}/{name}" for name in ("celery", "web")}
    web = READY.format(wait=0, file=handover["web"])
    supervisord.apply(program("celery") + program("web"))
    before = supervisord.pids()
    begun = program("celery", mark="2") + program("web", mark="2", ready=web)
    done = supervisord.apply(begun, handover=handover, ready_timeout=2)
    assert "not ready after 2 s: celery; " in done["msg"]
    assert json.loads(Path(handover["web"]).read_text())["pid"] not in before.values(), "the new one was ready"
    assert supervisord.pids() == before


def test_a_program_is_restarted_alone_when_that_is_asked_for(supervisord: Supervisord, tmp_path: Path) -> None:
    handover = {"celery": f"{tmp_path}/ready"}
    supervisord.apply(program("celery", ready=READY.format(wait=0, file=handover["celery"])) + program("celerybeat"))
    files = {path: path.read_text() for path in supervisord.programs.iterdir()}
    before = supervisord.pids()
    done = supervisord.apply(None, restart=["celery", "web"], handover=handover)
    assert done["changed"]
    assert done["programs"] == {"celery": "handed over"}
    assert eventually(lambda: set(supervisord.pids()) == {"celery", "celerybeat"})
    after = supervisord.pids()
    assert after["celery"] != before["celery"]
    assert after["celerybeat"] == before["celerybeat"]
    assert supervisord.apply(None, restart=["celerybeat"])["programs"] == {"celerybeat": "restarted"}
    assert supervisord.pids()["celerybeat"] != after["celerybeat"]
    assert {path: path.read_text() for path in supervisord.programs.iterdir()} == files


def test_a_dry_run_of_a_restart_only_tells(supervisord: Supervisord) -> None:
    supervisord.apply(program("celery"))
    before = supervisord.pids()
    done = supervisord.apply(None, restart=["celery", "web"], check=True)
    assert (done["changed"], done["programs"]) == (True, {"celery": "restarted"})
    assert supervisord.pids() == before


def test_a_handover_that_was_interrupted_is_finished(supervisord: Supervisord, tmp_path: Path) -> None:
    supervisord.apply(program("celery"))
    old = supervisord.pids()["celery"]
    supervisord.rpc().supervisor.reloadConfig()
    supervisord.rpc().handover.rename("celery", f"celery-leaving-{old}")
    supervisord.apply(program("celery", mark="2"), handover={"celery": f"{tmp_path}/ready"})
    assert eventually(lambda: not Path(f"/proc/{old}").exists())
    assert set(supervisord.pids()) == {"celery"}


def test_what_does_not_run_is_started_anew(supervisord: Supervisord, tmp_path: Path) -> None:
    supervisord.apply(program("celery"))
    supervisord.control("stop", "celery")
    done = supervisord.apply(program("celery", mark="2"), handover={"celery": f"{tmp_path}/ready"})
    assert done["programs"] == {"celery": "restarted"}
    assert set(supervisord.pids()) == {"celery"}


def test_a_program_that_is_no_more_wanted_goes(supervisord: Supervisord) -> None:
    supervisord.apply(program("celery") + program("celery-old"))
    done = supervisord.apply(program("celery"))
    assert done["programs"] == {"celery-old": "removed"}
    assert set(supervisord.pids()) == {"celery"}
    assert not (supervisord.programs / "celery-old.conf").exists()


def test_all_programs_go_where_none_is_wanted(supervisord: Supervisord) -> None:
    supervisord.apply(program("celery"))
    assert supervisord.apply("; none\n\n")["programs"] == {"celery": "removed"}
    assert supervisord.pids() == {}


def test_programs_of_others_are_left_alone(supervisord: Supervisord) -> None:
    (supervisord.programs / "theirs.conf").write_text(program("theirs"))
    supervisord.apply(program("flower"), owner="flower")
    flower = supervisord.pids()["flower"]
    done = supervisord.apply(program("celery"))
    assert done["programs"] == {"celery": "started"}
    assert supervisord.pids()["flower"] == flower
    assert (supervisord.programs / "theirs.conf").read_text() == program("theirs")


def test_a_run_that_was_interrupted_after_writing_is_finished(supervisord: Supervisord) -> None:
    supervisord.apply(program("celery"))
    before = supervisord.pids()["celery"]
    content = program("celery", mark="2") + program("celery-new")
    # What an interrupted run leaves: the files are there, supervisord has not been told.
    for name in ("celery", "celery-new"):
        text = next(part for part in content.split("[program:") if part.startswith(f"{name}]"))
        header = "; Managed by Ansible for celery. Changes here are lost.\n"
        (supervisord.programs / f"{name}.conf").write_text(f"{header}[program:{text.rstrip()}\n")
    done = supervisord.apply(content)
    assert done["changed"]
    assert done["programs"] == {"celery": "restarted", "celery-new": "started"}
    assert supervisord.pids()["celery"] != before


def test_a_run_that_was_interrupted_as_it_removed_a_program_is_finished(supervisord: Supervisord) -> None:
    supervisord.apply(program("celery") + program("celery-old"))
    supervisord.control("stop", "celery-old")
    supervisord.control("remove", "celery-old")
    done = supervisord.apply(program("celery"))
    assert done["programs"] == {"celery-old": "removed"}
    assert not (supervisord.programs / "celery-old.conf").exists()
    assert set(supervisord.pids()) == {"celery"}


def test_the_file_of_a_program_goes_after_the_program(supervisord: Supervisord) -> None:
    supervisord.apply(program("celery") + program("celery-old", stop=6))
    time.sleep(0.5)
    cut_off = supervisord.apply(program("celery"), timeout=1)
    assert cut_off["failed"]
    assert (supervisord.programs / "celery-old.conf").exists()
    assert supervisord.apply(program("celery"))["programs"] == {"celery-old": "removed"}
    assert set(supervisord.pids()) == {"celery"}


def test_a_program_that_does_not_stop_is_said(supervisord: Supervisord) -> None:
    supervisord.apply(program("celery", stop=6))
    time.sleep(0.5)
    done = supervisord.apply(program("celery", mark="2"), timeout=1)
    assert done["failed"]
    assert "still stopping after 1 s: celery" in done["msg"]


def test_a_dry_run_only_tells(supervisord: Supervisord) -> None:
    supervisord.apply(program("celery") + program("celery-old"))
    before = supervisord.pids()
    done = supervisord.apply(program("celery", mark="2") + program("celery-new"), check=True)
    assert done["programs"] == {"celery": "restarted", "celery-new": "started", "celery-old": "removed"}
    assert supervisord.pids() == before
    assert not (supervisord.programs / "celery-new.conf").exists()


def test_a_supervisord_that_does_not_run_is_said(tmp_path: Path) -> None:
    done = run_module(
        "supervisor_programs",
        owner="celery",
        content=program("celery"),
        directory=str(tmp_path),
        socket=f"{tmp_path}/s",
    )
    assert done["failed"]
    assert f"supervisord on {tmp_path}/s" in done["msg"]
    assert "systemctl status supervisor" in done["msg"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (program("celery") + program("celery"), "two programs of one name: 'celery'"),
        ("[unix_http_server]\nfile=/x\n", "not a [program:NAME] section"),
        ("autostart=true\n" + program("celery"), "not a [program:NAME] section"),
    ],
)
def test_content_that_is_no_program_is_refused(tmp_path: Path, content: str, message: str) -> None:
    done = run_module("supervisor_programs", owner="celery", content=content, directory=str(tmp_path))
    assert done["failed"]
    assert message in done["msg"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("first", [False, True])
def test_a_program_that_does_not_start_gets_its_previous_files_back(
    supervisord: Supervisord, tmp_path: Path, first: bool
) -> None:
    """And runs with them. The message has the end of its log, without what the log had before."""
    me, group = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
    setting, log = tmp_path / "setting", tmp_path / "flower.log"
    log.write_text("of yesterday\n")

    def apply(port: str) -> dict[str, Any]:
        script = f"read port <{setting}; echo port $port >>{log}; exec sleep $port"
        text = f"[program:flower]\ncommand=sh -c '{script}'\nstartsecs=2\nenvironment=DIGEST={port}\n"
        given = [{"dest": str(setting), "content": f"{port}\n", "owner": me, "group": group, "mode": "0600"}]
        more: dict[str, Any] = {"log_folder": str(tmp_path), "previous": str(tmp_path / "previous"), "undo_after": 10}
        return supervisord.apply(text, owner="flower", configuration=given, **more)

    if first:  # nobody waits for it, and there is nothing to go back to
        assert apply("nonsense")["programs"] == {"flower": "started"}
        return
    apply("1000")
    eventually_runs(supervisord, "flower")
    files = [supervisord.programs / "flower.conf", setting]
    before = [(path.read_text(), path.stat().st_mode) for path in files]
    said = apply("nonsense")
    assert said["failed"]
    for words in ("flower does not start with the new files", "  port nonsense", f"{setting} is back, and flower runs"):
        assert words in said["msg"].replace(f"{files[0]}, {setting}", f"{setting}"), said["msg"]
    assert "of yesterday" not in said["msg"]
    assert [(path.read_text(), path.stat().st_mode) for path in files] == before
    assert "flower" in supervisord.pids()
    assert not list((tmp_path / "previous").iterdir())
    assert apply("1000")["changed"] is False
    assert apply("2000")["programs"] == {"flower": "restarted"}
    assert "flower" in supervisord.pids()


def eventually_runs(supervisord: Supervisord, name: str) -> None:
    """Wait until supervisord takes a program for running."""
    for _ in range(100):
        if name in supervisord.pids():
            return
        time.sleep(0.1)
    raise TimeoutError(name)
