"""A steady load and faults at random, for as long as asked."""

from __future__ import annotations

import time
from typing import Any

from tests.faults.host import Host
from tests.faults.ledger import Verdict
from tests.faults.trial import Fault, Trial, run


def restart_worker(trial: Trial) -> None:
    """supervisorctl restart celery."""
    trial.do("supervisorctl restart celery")


def kill_worker(trial: Trial) -> None:
    """SIGKILL of the worker's main process."""
    trial.kill(trial.worker(), "the worker")


def hang_worker(trial: Trial) -> None:
    """The same, after it has hung for a second."""
    pid = trial.worker()
    trial.do(f"kill -STOP {pid}")
    time.sleep(1)
    trial.kill(pid, "the worker")


def kill_child(trial: Trial) -> None:
    """SIGKILL of a child of the pool."""
    trial.kill(str(trial.in_a_task().pid), "a child in a task")


def kill_supervisord(trial: Trial) -> None:
    """SIGKILL of supervisord."""
    trial.kill(trial.host.run("systemctl show --value --property MainPID supervisor").strip(), "supervisord")


def restart_broker(trial: Trial) -> None:
    """A clean restart of the broker."""
    trial.blow(f"systemctl restart {trial.host.broker}")


def kill_broker(trial: Trial) -> None:
    """SIGKILL of the broker."""
    trial.blow(f"systemctl kill --signal KILL {trial.host.broker}")


def kill_results(trial: Trial) -> None:
    """SIGKILL of the result store."""
    trial.blow("systemctl kill --signal KILL redis-server")


def kill_database(trial: Trial) -> None:
    """SIGKILL of the database."""
    trial.blow("systemctl kill --signal KILL 'postgresql@*'")


def lose_power(trial: Trial) -> None:
    """Power loss of the host."""
    trial.power_loss()


# Each with a weight: what takes long comes seldom.
BLOWS = {
    restart_worker: 4,
    kill_worker: 8,
    hang_worker: 4,
    kill_child: 8,
    kill_supervisord: 2,
    restart_broker: 2,
    kill_broker: 4,
    kill_results: 4,
    kill_database: 2,
    lose_power: 2,
}


# Many short tasks and, as in every load, about one long one for each child of the pool.
LOAD: dict[str, Any] = {"rate": 11.0, "mix": {"short": 90, "long": 2, "eta": 2, "retries": 2, "chain": 3, "chord": 4}}


def soak(host: Host, seconds: float, seed: int, **load: Any) -> Verdict:
    """Throw faults at a host until the time is over.

    Args:
        host: a healthy host.
        seconds: for how long.
        seed: of which faults, and when.
        load: what is different about the load; see Load.
    """

    def cause(trial: Trial) -> None:
        end, number = time.time() + seconds, 0
        while time.time() < end:
            (blow,) = trial.chance.choices(list(BLOWS), list(BLOWS.values()))
            blow(trial)
            number += 1
            trial.serving()
            trial.pause(3, 12)
        trial.say(f"{number} faults")

    fault = Fault("soak", f"faults at random for {seconds / 60:g} minutes, seed {seed}", "in hand", cause)
    return run(fault, host, seed=seed, **(LOAD | load))
