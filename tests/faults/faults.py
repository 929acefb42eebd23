"""The faults: what is done to a host under load. Each is a function; the matrix is what there is of them."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.faults.trial import Fault, Trial
from tests.hosts.support import DIES, app_with, eventually

BOTH = ("rabbitmq", "redis")
# A task that no release before knows.
LATER = """

@app.task
def later() -> None:
    pass
"""
FAULTS: dict[str, Fault] = {}


def fault(
    id: str, title: str, twice: str, *, sample: tuple[str, ...] = ()
) -> Callable[[Callable[[Trial], None]], Callable[[Trial], None]]:
    """Add a function to the matrix.

    Args:
        id: its number.
        title: what happens, in a few words.
        twice: how often a task may run twice; see Fault.
        sample: the brokers with which it is part of the short run in the Molecule scenarios.
    """

    def add(cause: Callable[[Trial], None]) -> Callable[[Trial], None]:
        FAULTS[id] = Fault(id, title, twice, cause, sample)
        return cause

    return add


@fault("F1", "`supervisorctl restart celery`, `stop` then `start`", "no")
def worker_restarted(trial: Trial) -> None:
    for _ in trial.times(4):
        trial.do("supervisorctl restart celery")
        trial.pause(1, 4)
    trial.do("supervisorctl stop celery")
    trial.hold(40)
    trial.do("supervisorctl start celery")


@fault("F2", "SIGKILL of a pool child in a task", "once")
def child_killed(trial: Trial) -> None:
    for _ in trial.times(6):
        run = trial.in_a_task()
        trial.kill(str(run.pid), f"the child that runs {run.id}")
        trial.pause(1, 3)


@fault("F3", "SIGKILL of the worker's main process", "in hand")
def worker_killed(trial: Trial) -> None:
    for number in trial.times(10):
        pid = trial.worker()
        if number % 2:  # it hangs first: what the broker hands to it then is in no one's hand
            trial.do(f"kill -STOP {pid}", f"SIGSTOP to the worker, pid {pid}")
            trial.pause(1)
        trial.kill(pid, "the worker")
        trial.serving()
        trial.pause(1, 3)


@fault("F4", "SIGKILL of supervisord; `systemctl restart supervisor`", "in hand")
def supervisord_killed(trial: Trial) -> None:
    for _ in trial.times(3):
        pid = trial.host.run("systemctl show --value --property MainPID supervisor").strip()
        trial.kill(pid, "supervisord")
        trial.serving()
        trial.pause(2, 4)
    trial.do("systemctl restart supervisor")


@fault("F7", "broker restarted cleanly", "no")
def broker_restarted(trial: Trial) -> None:
    for _ in trial.times(3):
        trial.do(f"systemctl restart {trial.host.broker}")
        trial.serving()
        trial.pause(2, 4)


@fault("F8", "broker SIGKILLed", "in hand", sample=BOTH)
def broker_killed(trial: Trial) -> None:
    for _ in trial.times(3):
        trial.blow(f"systemctl kill --signal KILL {trial.host.broker}")
        trial.serving()
        trial.pause(2, 4)


@fault("F9", "power loss of the broker's host, its disk kept", "in hand")
def power_lost(trial: Trial) -> None:
    for _ in trial.times(3):
        trial.power_loss()
        trial.serving()
        trial.pause(2, 4)


@fault("F13", "result store down for 60 s, and killed", "in hand", sample=BOTH)
def results_away(trial: Trial) -> None:
    trial.blow("systemctl stop redis-server")
    trial.hold(60)
    trial.do("systemctl start redis-server")
    trial.serving()
    trial.pause(2, 4)
    trial.blow("systemctl kill --signal KILL redis-server")
    trial.serving()


@fault("F14", "a release in the middle of the load", "no")
def released(trial: Trial) -> None:
    host, first = trial.host, trial.host.releases()
    with trial.web_requests(), tempfile.TemporaryDirectory() as folder:
        app = app_with("", Path(folder) / "app")
        seen = [first]
        for number in trial.times(3):
            with (app / "tasks/__init__.py").open("a") as code:
                code.write(f"# release {number}\n")
            host.deploy(celery_app_source=str(app))
            seen.append(host.releases())
            assert len(seen[-1]) == 1, f"the workers run several releases: {seen[-1]}"
            assert seen[-1] != seen[-2], f"the workers run the old release: {seen[-1]}"
            trial.say(f"every worker runs {', '.join(seen[-1])}")
            trial.pause(2, 4)
        host.deploy()
    assert host.releases() == first, f"not the first release again: {host.releases()}"
    trial.say("the first release runs again")


@fault("F15", "a rollback in the middle of the load; a bad release that goes back by itself", "no")
def rolled_back(trial: Trial) -> None:
    host, first = trial.host, trial.host.release()
    with trial.web_requests(), tempfile.TemporaryDirectory() as folder:
        newer = app_with(LATER, Path(folder) / "newer")
        began = time.monotonic()
        trial.make("release", f"ARGS=-e celery_app_source={newer}", why="it knows a task more")
        ahead = time.monotonic() - began + 20  # seconds; a rollback does less than a release
        second = host.release()
        assert second != first, f"the old release runs: {first}"
        (now,) = host.send("[app.send_task('tasks.later')]")
        trial.finished([now], within=60)
        (late,) = host.send(f"[app.send_task('tasks.later', countdown={ahead})]")
        trial.say(f"{second} runs that task; another one is due in {ahead:.0f} s")

        trial.make("rollback")
        assert (runs := host.release()) == first, f"not the release before: {runs}"
        trial.say(f"{first} runs again")
        trial.pause(2, 4)

        before = host.main_pids()
        bad = app_with(DIES, Path(folder) / "bad")
        said = trial.make("release", f"ARGS=-e celery_app_source={bad}", why="its workers die at once", works=False)
        assert f"Release {first} runs again" in said, said[-3000:]
        assert (runs := host.release()) == first, f"not the release before: {runs}"
        assert (after := host.main_pids()) == before, f"programs of the good release were restarted: {before}, {after}"
        assert "is bad: " in host.make("releases"), "it is not marked bad"
        trial.say(f"it went back by itself and is marked bad; no program of {first} was restarted")

        (dead,) = eventually(host.dead_letters, lambda found: [one["id"] for one in found] == [late], within=ahead + 60)
        warned = [one["detail"] for one in host.health()[1]["checks"] if one["name"] == "celery.dead" and not one["ok"]]
        assert warned == ["1 dead-lettered"], f"health says of the dead letter: {warned}"
        trial.say(
            f"{first} does not know the task that came due: it is dead-lettered ({dead['reason']}), health says so"
        )
        trial.make("rollback", why="forward")
        assert (runs := host.release()) == second, f"not the release before: {runs}"
        trial.do(f"celery-dead retry {late}", "celery-dead retry: the dead letter")
        trial.finished([late], within=60)
        assert sum(event.id == late and event.event == "start" for event in trial.ledger.events) == 1, "it ran twice"
        trial.say(f"{second} has run it")
        trial.make("rollback")
        assert (runs := host.release()) == first, f"not the first release again: {runs}"


@fault("F16", "broker out of memory and of disk", "no")
def broker_full(trial: Trial) -> None:
    host = trial.host
    if host.platform.broker == "rabbitmq":
        for alarm, normal in (
            ("set_vm_memory_high_watermark absolute 1MB", "set_vm_memory_high_watermark 0.4"),
            ("set_disk_free_limit 900GB", "set_disk_free_limit 1GB"),
        ):
            trial.do(f"rabbitmqctl --quiet {alarm}")
            trial.hold(40)
            trial.do(f"rabbitmqctl --quiet {normal}")
            trial.serving()
        return
    before = host.redis("config", "get", "maxmemory").splitlines()[-1]
    trial.say("Redis: maxmemory at what it uses")
    host.redis("config", "set", "maxmemory", str(int(host.redis("info", "memory").split("used_memory:")[1].split()[0])))
    trial.hold(40)
    trial.say("Redis: maxmemory as it was")
    host.redis("config", "set", "maxmemory", before)


@fault("F17", "a task that kills its worker each time", "bounded", sample=BOTH)
def poison(trial: Trial) -> None:
    trial.say("a task that kills its worker")
    trial.until_dead_lettered("crash.delay('worker')")


@fault("F18", "a task killed for memory", "bounded")
def out_of_memory(trial: Trial) -> None:
    with trial.host.memory("2g"):
        trial.say("a task that takes 4 GiB, on a host of 2 GiB")
        trial.until_dead_lettered("exhaust.delay(4096)")


@fault("F20", "producer's connection cut between publish and confirm", "once")
def confirm_lost(trial: Trial) -> None:
    with trial.cut() as port, trial.load.through(port):
        trial.hold(30, out=False)


@fault("F21", "tasks with an ETA an hour ahead, across a restart of worker and broker", "no")
def far_ahead(trial: Trial) -> None:
    host = trial.host
    far = host.send("[add.apply_async((i, i), countdown=3600) for i in range(20)]")
    near = host.send("[add.apply_async((i, i), countdown=75) for i in range(20)]")
    trial.say("20 tasks for in an hour, 20 for in 75 s")
    trial.do("supervisorctl restart celery")
    trial.do(f"systemctl restart {host.broker}")
    trial.serving()
    trial.do("supervisorctl restart celery")
    stored = host.stored(far)
    assert set(stored.values()) == {1}, f"in the broker, and how often: {json.dumps(stored)}"
    trial.say("the broker has each of the first once")
    trial.finished(near, within=120)
    trial.say("the others have run")
    runs = [event.id for event in trial.ledger.events if event.event == "start"]
    assert not set(far) & set(runs), "one of the first ran an hour too early"
    assert all(runs.count(id) == 1 for id in near), "one of the others ran twice"


@fault("F22", "everything rebooted at once", "in hand")
def all_rebooted(trial: Trial) -> None:
    trial.reboot()
    trial.serving()
    trial.pause(2, 4)
    trial.power_loss()


@fault("F23", "database down for 60 s, and killed", "no")
def database_away(trial: Trial) -> None:
    trial.do("systemctl stop postgresql")
    trial.hold(60)
    trial.do("systemctl start postgresql")
    trial.pause(2, 4)
    trial.do("systemctl kill --signal KILL 'postgresql@*'")
    eventually(lambda: trial.host.host.run("pg_isready --quiet --host 127.0.0.1").rc, lambda rc: rc == 0, within=30)
    trial.say("the database listens")
