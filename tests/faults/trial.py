"""One fault on one host under load, from a steady state to the verdict."""

from __future__ import annotations

import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any

from tests.faults.host import Host
from tests.faults.ledger import Event, Ledger, Verdict, extra_runs, longest_gap
from tests.faults.load import Load
from tests.hosts.support import ORDERS, eventually

CUTTER = Path(__file__).with_name("cutter.py").read_text(encoding="utf-8")
NOTICED = 30.0  # seconds in which health has to turn bad while service is out
RECOVERY = 180.0  # seconds in which the platform has to be healthy by itself


@dataclass(frozen=True)
class Fault:
    """What is done, and how often a task may run twice for it.

    Args:
        id: the number in the matrix of faults.
        title: what happens.
        twice: the promise's word: no; once (for each thing that was cut off or killed); in hand; bounded.
        cause: does it.
        sample: the brokers with which it belongs to the short run in the Molecule scenarios.
    """

    id: str
    title: str
    twice: str
    cause: Callable[[Trial], None]
    sample: tuple[str, ...] = ()


class Trial:
    """A fault, as it is tried: what it may do to the host, and what is written down of it.

    Args:
        host: the host.
        brief: do less often, and for a shorter time, what is repeated or held; for `make test`.
        seed: of all choices.
    """

    def __init__(self, host: Host, brief: bool = False, seed: int = 0) -> None:
        self.host = host
        self.brief = brief
        self.seed = seed
        self.chance = random.Random(seed)  # noqa: S311
        self.ledger = Ledger(host.ledger)
        self.log: list[tuple[float, str]] = []
        self.blows = 0
        self.bound = 0
        self.problems: list[str] = []
        self.outage: tuple[float, float] | None = None
        self.load = Load(host)

    # --- for faults ---------------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Write down what is done, with the time."""
        self.log.append((round(time.time() - self.load.begun, 1), text))
        print(f"    {self.log[-1][0]:6.1f} s  {text}", flush=True)

    def do(self, command: str, why: str = "") -> str:
        """Run a command on the host, and write it down. Returns what it said."""
        self.say(why or command)
        return self.host.run(command)

    def make(self, verb: str, *words: str, why: str = "", works: bool = True) -> str:
        """Run a verb of the Makefile on the host, and write it down. Returns what it said; see Site.make."""
        self.say(f"make {verb}{why and f': {why}'}")
        return self.host.make(verb, *words, works=works)

    def kill(self, pids: str, who: str, signal: str = "KILL") -> None:
        """Send a signal to processes of the host, and count it as a blow."""
        self.blows += 1
        self.do(f"kill -{signal} {pids}", f"SIG{signal} to {who}, pid {pids}")

    def blow(self, command: str, why: str = "") -> None:
        """Do something that takes tasks out of the hands of those who run them."""
        self.blows += 1
        self.do(command, why)

    def times(self, number: int) -> range:
        """This often, and less often in brief."""
        return range(max(1, number // 3) if self.brief else number)

    def pause(self, least: float, most: float | None = None) -> None:
        """Wait some seconds."""
        time.sleep(self.chance.uniform(least, most if most is not None else least))

    def hold(self, seconds: float, out: bool = True) -> None:
        """Leave things as they are.

        Args:
            seconds: for how long; a fifth of it in brief.
            out: whether service is out meanwhile, so that health has to turn bad.
        """
        begin = time.time()
        time.sleep(seconds / 5 if self.brief else seconds)
        if out:
            self.outage = (begin, time.time())

    def reboot(self) -> None:
        """Shut the host down properly, and start it."""
        self.blows += 1
        self.say("reboot")
        self.host.reboot()
        self.say("it has booted")

    def power_loss(self) -> None:
        """Cut the host's power, and start it."""
        self.blows += 1
        forgets = self.host.power_off()
        self.say("power off; " + ("what was not synced is gone" if forgets else "a kill only: the page cache stays"))
        self.host.power_on()
        self.say("it has booted")

    @contextmanager
    def cut(self) -> Iterator[int]:
        """A port of the host that leads to the broker, by connections that are cut between publish and confirm."""
        port, broker = 5999, {"rabbitmq": 5672, "redis": 6379}[self.host.platform.broker]
        process = self.host.popen("/usr/bin/python3", "-c", CUTTER, str(port), str(broker))
        yield port
        said, _ = process.communicate(timeout=30)
        self.blows += said.count("cut")
        self.say(f"{self.blows} connections were cut")

    @contextmanager
    def web_requests(self) -> Iterator[None]:
        """Ask the web side all the time; each request has to be answered, those of the load too."""
        end, answers = threading.Event(), Counter[str]()

        def ask() -> None:
            while not end.wait(0.1 if self.brief else 0.02):
                try:
                    answers[f"HTTP {self.host.http('/healthz').status}"] += 1
                except (OSError, HTTPException) as error:
                    answers[type(error).__name__] += 1

        visitors = [threading.Thread(target=ask, daemon=True) for _ in range(2)]
        for visitor in visitors:
            visitor.start()
        try:
            yield
        finally:
            end.set()
            for visitor in visitors:
                visitor.join()
        answers += Counter({error: n for error, n in self.load.refused.items() if error.startswith("HTTP")})
        self.say(f"the web side was asked {answers.total()} times beside the load: {dict(answers)}")
        if failed := answers.total() - answers["HTTP 200"]:
            self.problems.append(f"{failed} requests failed")

    def worker(self) -> str:
        """The pid of the worker's main process, once it is up."""
        said = eventually(
            lambda: self.host.run("supervisorctl pid celery", status=None).strip(),
            lambda pid: pid.isdigit() and pid != "0",
            within=60,
        )
        return str(said)

    def in_a_task(self, task: str = "tasks.count") -> Event:
        """A run of this task that has just begun."""
        since = time.time()
        found = eventually(lambda: [run for run in self.ledger.running(task) if run.t > since], bool, within=60)
        return found[-1]

    def serving(self) -> None:
        """Wait until tasks succeed again."""
        since = time.time()
        eventually(lambda: any(e.event == "success" and e.t > since for e in self.ledger.read()[-50:]), bool, within=90)

    def until_dead_lettered(self, call: str) -> None:
        """Send a task that harms its worker, and wait until it is dead-lettered, after no more tries than are allowed.

        Args:
            call: sends it; Python on the host.
        """
        limit = int(self.host.platform.variables["celery_delivery_limit"])
        (id,) = self.host.send(f"[{call}]")
        eventually(lambda: [one["id"] for one in self.host.dead_letters()], lambda ids: id in ids, within=500)
        tries = sum(event.event == "start" and event.id == id for event in self.ledger.read())
        self.bound = tries * (self.host.in_hand + 3)
        self.say(f"it is dead-lettered, after {tries} tries; the limit is {limit}")
        assert tries <= limit + 1, f"it was tried {tries} times, with a delivery limit of {limit}"
        self.do(f"celery-dead drop --yes {id}")

    def finished(self, ids: list[str], within: float) -> None:
        """Wait until these tasks have reached a final state."""
        eventually(lambda: set(ids) - self.ledger.finished(), lambda missing: not missing, within)


class Health:
    """Asks celery-health on the host again and again, from a thread, and keeps what it said."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.said: list[tuple[float, float, int]] = []  # asked, answered, exit code
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def start(self) -> None:
        """Begin to ask, if that has not begun."""
        if not self._thread.is_alive():
            self._thread.start()

    def _ask(self) -> None:
        while not self._end.is_set():
            asked = time.time()
            code = self.host.host.run("celery-health --json").rc
            self.said.append((asked, time.time(), code))
            self._end.wait(2)

    def good_since(self, moment: float) -> float | None:
        """Seconds from a moment until it was found to work, of what was asked after it.

        The load goes on meanwhile: that it waits for its turn is a warning, and the platform works.
        """
        return next((answered - moment for asked, answered, code in self.said if asked >= moment and code <= 1), None)

    def bad_since(self, moment: float) -> float | None:
        """Seconds from a moment until it was found unhealthy, or could not be asked."""
        return next((answered - moment for _, answered, code in self.said if answered >= moment and code >= 2), None)

    def end(self) -> None:
        """Ask no more."""
        self._end.set()
        self._thread.join(60)


PATIENCE = 75.0  # seconds without any event after which what is missing is lost: Redis gives it out again after 30


def settle_orders(trial: Trial) -> None:
    """See that each order that was accepted, or is in the database, was confirmed, and had its effect once."""
    placed = trial.load.orders
    if not placed:
        return
    code = f"PRODUCT = {trial.load.product!r}\n{ORDERS}"
    try:
        seen = eventually(lambda: trial.host.python(code), lambda seen: not seen["waiting"], within=60)
    except AssertionError as error:
        trial.problems.append(f"orders are not confirmed: {error}")
        return
    if gone := placed - set(seen["orders"]):
        trial.problems.append(
            f"{len(gone)} of {len(placed)} accepted orders are not in the database: {sorted(gone)[:3]}"
        )
    if seen["sold"] != len(seen["orders"]):
        trial.problems.append(f"{len(seen['orders'])} orders had their effect {seen['sold']} times")
    trial.say(f"{len(seen['orders'])} orders, which had their effect {seen['sold']} times")


def drain(trial: Trial) -> set[str]:
    """Wait until all that was accepted is finished, or nothing happens any more; return what is missing."""
    begun = time.time()
    while missing := trial.load.ids - trial.ledger.finished():
        last = max((event.t for event in trial.ledger.events[-100:] if event.id in trial.load.ids), default=begun)
        if time.time() - max(last, begun) > PATIENCE or time.time() - begun > 1800:
            return missing
        time.sleep(0.5)
    return set()


def make_ready(host: Host) -> None:
    """Have a healthy host, whatever the last fault left behind."""
    if host.dead_letters():
        host.run("celery-dead drop --all --yes")
    if host.health(wait=60)[0] >= 2:
        print("    the host is unhealthy: reboot", flush=True)
        host.reboot()
        host.health(wait=120)


def run(
    fault: Fault,
    host: Host,
    *,
    brief: bool = False,
    seed: int = 0,
    without: str = "",
    unprotected: AbstractContextManager[None] | None = None,
    **load: Any,
) -> Verdict:
    """Try a fault.

    Args:
        fault: which.
        host: a healthy host.
        brief: see Trial.
        seed: see Trial.
        without: what is taken away, in words.
        unprotected: takes it away, and gives it back at its end.
        load: what is different about the load; see Load.

    Raises:
        AssertionError: the host was not healthy before.
    """
    make_ready(host)
    trial = Trial(host, brief, seed)
    with unprotected or nullcontext():
        code, health = host.health(wait=60)
        assert code <= 1 or unprotected, f"{host.platform.broker}'s host is not healthy before {fault.id}: {health}"
        trial.load = Load(host, seed, **({"rate": 2.0} if brief else {}) | load).start()
        trial.say("the load begins")
        trial.serving()
        trial.pause(3 if brief else 6)
        asked = Health(host)
        if (
            not brief
        ):  # no outage of a brief trial is long enough to be noticed, and to ask takes a core half of its time
            asked.start()
        begin = time.time()
        try:
            fault.cause(trial)
        except (AssertionError, subprocess.SubprocessError) as error:
            trial.problems.append(str(error))
            trial.say(f"not as promised: {error}")
        end = time.time()
        trial.say("the fault is over")
        asked.start()
        healthy = _wait_until_healthy(asked, end)
        trial.pause(2 if brief else 5)
        trial.load.stop()
        stopped = time.time()
        trial.say(f"the load ends; health: {'bad' if healthy is None else f'good {healthy:.1f} s after the fault'}")
        missing = drain(trial)
        trial.say(f"{len(trial.load.ids)} accepted, {len(missing)} missing")
        settle_orders(trial)
    return _verdict(trial, fault, without, asked, missing, (begin, end, stopped), healthy)


def _wait_until_healthy(asked: Health, end: float) -> float | None:
    try:
        return eventually(lambda: asked.good_since(end), lambda since: since is not None, RECOVERY)
    except AssertionError:
        return None
    finally:
        asked.end()


def _verdict(
    trial: Trial,
    fault: Fault,
    without: str,
    asked: Health,
    missing: set[str],
    times: tuple[float, float, float],
    healthy: float | None,
) -> Verdict:
    begin, end, stopped = times
    load, events, host = trial.load, trial.ledger.read(), trial.host
    ids = load.ids
    noticed = None
    if trial.outage and trial.outage[1] - trial.outage[0] > NOTICED:
        noticed = asked.bad_since(trial.outage[0])
        if noticed is None or noticed > NOTICED:
            trial.problems.append(f"health turned bad {noticed} s after service went out; promised within {NOTICED:g}")
    # None of the load's tasks fails by itself: one that did was interrupted, and did not do what it was accepted for.
    failed = {event.id for event in events if event.event == "failure"} & ids
    lost = missing | failed
    again = extra_runs(events, ids - load.orders)
    allowed = {"no": 0, "once": trial.blows, "in hand": trial.blows * (host.in_hand + 3), "bounded": trial.bound}
    successes = [event.t for event in events if event.event == "success" and event.id in ids]
    seconds = Counter(int(t - load.begun) for t in successes)
    verdict = Verdict(
        fault=f"{fault.id} {without}".strip(),
        title=fault.title,
        broker=host.platform.broker,
        accepted=len(ids),
        finished=len(ids) - len(lost),
        lost=len(lost),
        twice=again.total(),
        twice_allowed=allowed[fault.twice] + load.again,
        twice_word=fault.twice,
        refused=sum(load.refused.values()),
        failed=len(failed),
        gap_s=round(longest_gap(events, ids, load.begun, stopped), 1),
        healthy_s=None if healthy is None else round(healthy, 1),
        noticed_s=None if noticed is None else round(noticed, 1),
        proof=bool(without),
        brief=trial.brief,
        date=datetime.now(UTC).date().isoformat(),
        versions=host.versions,
        problems=trial.problems,
        log=trial.log,
        series=[seconds[second] for second in range(max(seconds, default=0) + 1)],
        fault_s=(round(begin - load.begun, 1), round(end - load.begun, 1)),
    )
    for id in list(again)[:10]:
        starts = (f"{event.t - load.begun:.1f}" for event in events if event.id == id and event.event == "start")
        trial.say(f"ran again: {id}, {load.accepted[id]}, at {', '.join(starts)} s")
    kinds = Counter(load.accepted[id] for id in lost)
    if lost:
        trial.say(f"lost, by kind: {dict(kinds)}, {len(failed)} of them failed")
        for id in sorted(lost, key=load.when.__getitem__)[:10]:
            trial.say(f"lost: {id}, {load.accepted[id]}, accepted at {load.when[id]} s")
    if load.again:
        trial.say(f"accepted calls that the producers sent again: {load.again}")
    if load.refused:
        trial.say(f"refused, by error: {dict(load.refused.most_common(5))}")
    verdict.judge()
    return verdict
