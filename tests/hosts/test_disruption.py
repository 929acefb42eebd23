"""What must not harm: programs stopped, restarted and killed, supervisord restarted, the host rebooted.

Each leaves the host as it found it, healthy; so they run after all others, the gentlest first.
"""

from __future__ import annotations

import http.client
import re
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.hosts.support import ORDERS, Site, eventually, once

# Places an order, and dies with the order in the database and its task on no broker.
CRASH = """
import os, signal, django
django.setup()
from tasks import orders, outbox
outbox.publish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
orders.place(PRODUCT, 1)
"""
# What a broker does at its worst: each task once more, and relays side by side.
DUPLICATES = """
import json
from tasks import confirm, relay
print(json.dumps([task.delay(*args).id for id in IDS for task, args in ((confirm, [id]), (relay, []))]))
"""


def finished(site: Site, ids: list[str], within: float = 60) -> Counter[str]:
    """Wait until all tasks have succeeded; return how often each did, by the workers' logs."""
    eventually(lambda: site.states(ids), lambda states: states == {"SUCCESS": len(ids)}, within)
    return site.log_lines(ids, "succeeded")


def running(site: Site) -> dict[str, str]:
    """The main processes of the programs that supervisord calls running."""
    said = site.run("supervisorctl status", status=None)
    return dict(re.findall(r"^(\S+)\s+RUNNING\s+pid (\d+),", said, flags=re.MULTILINE))


def in_hand(site: Site, ids: list[str]) -> None:
    """Wait until a worker has these tasks."""
    eventually(lambda: site.log_lines(ids, "received"), lambda received: all(received[id] for id in ids))


# --- stop and start --------------------------------------------------------------------------------------------------


@pytest.mark.late(1)
def test_healthy_is_what_a_healthy_host_is_called(site: Site) -> None:
    """Each layer was looked at, and each queue by a canary."""
    code, health = site.health(wait=30)
    assert (code, health["status"]) == (0, "healthy"), health
    canaries = {check["name"] for check in health["checks"] if check["layer"] == "canary"}
    assert canaries == set(site.platform.queues)
    layers = {"process", "consuming", "canary", "queues", "release"} | site.platform.features & {
        "beat",
        "database",
        "web",
        "flower",
    }
    assert {check["layer"] for check in health["checks"]} == layers


@pytest.fixture(scope="class")
def stopped(site: Site) -> Iterator[None]:
    """All programs stopped, as an operator does it; started after the tests, and healthy."""
    said = site.run("supervisorctl stop all", user=site.platform.operator)
    assert said.count(": stopped") == len(site.platform.programs)
    yield
    said = site.run("supervisorctl start all", user=site.platform.operator)
    assert said.count(": started") == len(site.platform.programs)
    code, health = site.health(wait=60)
    assert code == 0, health


@pytest.mark.late(2)
@pytest.mark.usefixtures("stopped")
class TestStopped:
    """While nothing runs."""

    def test_a_stopped_program_is_called_unhealthy(self, site: Site) -> None:
        """Each by its name, with what to do, and exit code 2."""
        code, health = site.health()
        asked = [check for check in health["checks"] if check["layer"] in ("process", "web", "flower")]
        failed = {check["name"]: check["advice"] for check in asked if check["severity"] == "error"}
        assert (code, health["status"]) == (2, "unhealthy"), health
        assert sorted(failed) == sorted(site.platform.programs), health
        assert all(program in failed[program] for program in site.platform.programs), failed
        assert not site.processes()

    def test_purge_empties_the_queues(self, site: Site) -> None:
        """And says how much there was."""
        purge = "celery -A tasks purge -f"
        site.run(purge, user=site.platform.operator)  # beat may have sent something as the workers stopped
        sent = site.send(f"[add.apply_async((1, 1), queue=q) for q in {site.platform.queues!r} for _ in range(2)]")
        said = site.run(purge, user=site.platform.operator)
        assert f"Purged {len(sent)} messages from {len(site.platform.queues)} known task queue" in said


# --- restart ---------------------------------------------------------------------------------------------------------


class Load:
    """Tasks for the worker named celery, sent side by side with what the test does.

    Where the application has such, the first take some seconds, so that the others wait behind them.
    """

    def __init__(self, site: Site, number: int = 500) -> None:
        worker = site.platform.workers[0]
        stem = str(uuid.uuid4())[:-12]
        long = worker.concurrency if "example" in site.platform.features else 0
        task = f"(count.s(3) if i < {long} else add.s(i, i))" if long else "add.s(i, i)"
        options = f"task_id=f'{stem}{{i:012x}}', queue={worker.queues[0]!r}"
        self.site = site
        self.ids = [f"{stem}{i:012x}" for i in range(number)]
        self.in_hand = self.ids[: long or 1]
        self.sending = threading.Thread(
            target=lambda: site.send(f"[{task}.apply_async({options}) for i in range({number})]")
        )
        self.sending.start()
        in_hand(site, self.in_hand)

    def finished(self, within: float = 60) -> Counter[str]:
        """Wait until all have succeeded; return how often each did."""
        self.sending.join()
        return finished(self.site, self.ids, within)


@pytest.mark.late(3)
def test_restart_celery_restarts_that_alone_and_loses_no_task(site: Site) -> None:
    """Tasks in hand are finished first; each task succeeds once; no other process is touched."""
    before = site.processes()
    load = Load(site)
    assert site.run("supervisorctl restart celery") == "celery: stopped\ncelery: started\n"
    assert load.finished() == dict.fromkeys(load.ids, 1)
    assert site.log_lines(load.in_hand, "received") == dict.fromkeys(load.in_hand, 1), "they were interrupted"
    after = site.processes()
    assert not set(before.pop("celery")) & set(after.pop("celery"))
    assert after == before


# --- kill ------------------------------------------------------------------------------------------------------------


@pytest.mark.late(4)
@pytest.mark.needs("example")
def test_a_killed_child_costs_no_task(site: Site) -> None:
    """The worker puts back what the child of its pool had in hand."""
    (sent,) = site.send("[count.delay(2)]")
    in_hand(site, [sent])
    main, *children = site.processes()["celery"]
    site.run(f"kill -KILL {' '.join(str(child.pid) for child in children)}")
    assert finished(site, [sent]) == {sent: 1}
    assert site.processes()["celery"][0] == main


@pytest.mark.late(5)
@pytest.mark.needs("example")
def test_a_killed_worker_costs_no_task(site: Site) -> None:
    """The next one, which supervisord starts, gets what it had in hand, from Redis after half a minute."""
    load = Load(site)
    main = site.processes()["celery"][0]
    site.run(f"kill -KILL {main.pid}")
    assert set(load.finished(within=60 if site.platform.broker == "rabbitmq" else 100).values()) <= {1, 2}
    assert main not in site.processes()["celery"]


@pytest.mark.late(5)
@once
@pytest.mark.needs("web", "beat", "database")
def test_a_killed_web_process_costs_no_order(site: Site) -> None:
    """Each that it accepted, and each that is in the database, is confirmed; and once, however often it is asked."""
    product = f"tea {uuid.uuid4()}"
    code = f"PRODUCT = {product!r}\n"
    assert site.host.run("celery-python -c %s", code + CRASH).rc == 128 + 9
    accepted: list[str] = []
    done = threading.Event()

    def order() -> None:
        while not done.is_set():
            try:
                answer = site.http("/api/orders", body={"product": product, "quantity": 1})
            except (OSError, http.client.HTTPException):
                continue  # not accepted
            if answer.status == 202:
                accepted.append(answer.json()["id"])

    main = running(site)["web"]
    with ThreadPoolExecutor(2) as pool:
        clients = [pool.submit(order) for _ in range(2)]
        try:
            for _ in range(3):
                enough = len(accepted) + 10
                eventually(lambda: len(accepted), enough.__le__)
                site.run(f"pkill -KILL -P {main}")  # the processes that answer
        finally:
            done.set()
        for client in clients:
            client.result()
    site.python(f"IDS = {accepted[-10:]}\n{DUPLICATES}")
    seen = eventually(lambda: site.python(code + ORDERS), lambda seen: not seen["waiting"], within=60)
    assert set(accepted) < set(seen["orders"])
    assert seen["sold"] == len(seen["orders"])


@pytest.mark.late(6)
def test_a_program_that_ends_is_started_again(site: Site) -> None:
    """Also when it ends as if all were well, and not only the workers; the others go on."""
    before = running(site)
    ended = set(before) - {"celery"} or set(before)
    site.run(f"kill -TERM {' '.join(before[program] for program in ended)}")
    after = eventually(
        lambda: running(site),
        lambda now: sorted(now) == sorted(before) and all(now[program] != before[program] for program in ended),
    )
    assert {program for program in before if after[program] != before[program]} == ended


# --- supervisord and the host ----------------------------------------------------------------------------------------


@pytest.mark.late(7)
@pytest.mark.unless("plain", "debian13")
def test_restarting_supervisord_leaves_no_orphan(site: Site) -> None:
    """And loses no task: each program ends properly before its successor starts."""
    before = {pid for pids in site.processes().values() for pid in pids}
    load = Load(site)
    site.run("systemctl restart supervisor")
    assert load.finished() == dict.fromkeys(load.ids, 1)
    site.healthy(within=60)
    assert not before & {pid for pids in site.processes().values() for pid in pids}
    assert sorted(site.processes()) == sorted(site.platform.programs)


@pytest.mark.late(100)
@pytest.mark.unless("plain", "debian13")
def test_a_reboot_brings_everything_back(site: Site) -> None:
    """By itself, healthy, with the tasks that waited."""
    booted = site.run("cat /proc/sys/kernel/random/boot_id; ps -o lstart= 1")
    site.run("supervisorctl stop celery")
    sent = site.send("[add.delay(i, i) for i in range(10)]")
    site.reboot()
    site.healthy(within=90)
    assert finished(site, sent) == dict.fromkeys(sent, 1)
    assert site.run("cat /proc/sys/kernel/random/boot_id; ps -o lstart= 1") != booted
    assert site.run("systemctl --failed --no-legend --plain") == ""
    assert sorted(site.processes()) == sorted(site.platform.programs)
