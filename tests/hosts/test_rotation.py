"""Passwords are replaced while tasks run and orders come in."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.hosts.support import ORDERS, Site, eventually

pytestmark = [pytest.mark.needs("example", "ledger"), pytest.mark.late(80)]

SERVICES = ("rabbitmq-server", "redis-server", "postgresql@17-main", "supervisor")
# Logs in with the passwords that it was started with, again and again, until each service has refused them. Prints the
# programs that had them still when one was refused.
OLD = """
import json, os, time
import psycopg, redis
from kombu import Connection

def broker():
    with Connection(os.environ["CELERY_BROKER_URL"], connect_timeout=5) as connection:
        connection.connect()

def results():
    redis.Redis.from_url(os.environ["CELERY_RESULT_BACKEND"], retry=None).ping()

def database():
    psycopg.connect(os.environ["DATABASE_URL"]).close()

def still():
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            environment = dict(v.split("=", 1) for v in open(f"/proc/{pid}/environ").read().split("\\0") if "=" in v)
        except OSError:
            continue
        if "CELERY_PROGRAM" in environment and environment.get("CELERY_BROKER_URL") == os.environ["CELERY_BROKER_URL"]:
            found.add(environment["CELERY_PROGRAM"])
    return sorted(found)

refused, rounds, deadline = {}, 0, time.monotonic() + 300
while len(refused) < 3 and time.monotonic() < deadline:
    rounds += 1
    for service in (broker, results, database):
        had = still()
        try:
            service()
        except Exception as error:
            refused.setdefault(service.__name__, [type(error).__name__, [one for one in had if one in still()]])
    time.sleep(1)
print(json.dumps({"refused": refused, "rounds": rounds, "still": still()}))
"""


@contextmanager
def orders(site: Site, product: str) -> Iterator[list[int | str]]:
    """Place an order after the other meanwhile: each wants the database and the broker. What the web side answered."""
    answers: list[int | str] = []
    done = threading.Event()

    def place() -> None:
        while not done.wait(0.25):
            began = time.strftime("%X")
            try:
                # Long, for a disk that others use: one of some hundred orders took more than ten seconds once.
                order = {"product": product, "quantity": 1}
                answers.append(site.http("/api/orders", body=order, timeout=30).status)
            except OSError as error:
                answers.append(f"{began}: {error!r}")

    placing = threading.Thread(target=place)
    placing.start()
    try:
        yield answers
    finally:
        done.set()
        placing.join()


def pids(site: Site) -> dict[str, str]:
    """The main processes of the services that run."""
    said = {one: site.run(f"systemctl show --value --property MainPID {one}").strip() for one in SERVICES}
    return {service: pid for service, pid in said.items() if pid != "0"}


def taken(site: Site) -> dict[str, int]:
    """How many passwords each service takes, by client."""
    redis = site.run("REDISCLI_AUTH=$(cat /etc/redis/root.password) redis-cli --user root ACL LIST")
    found = {f"redis {rule.split()[1]}": rule.count(" #") for rule in redis.splitlines()}
    roles = site.run("runuser -u postgres -- psql -Atc \"SELECT rolname FROM pg_roles WHERE rolname ~ '^celery_'\"")
    found["postgresql celery"] = len(roles.split())
    if site.platform.broker == "rabbitmq":
        users = site.run("rabbitmqctl --node rabbit@localhost --silent list_users").splitlines()
        found |= Counter(f"rabbitmq {user.split()[0].partition('_')[0]}" for user in users)
    return found


def test_passwords_are_replaced_without_an_outage(site: Site) -> None:
    """One of before is refused when the last program that has it is gone, and not earlier."""
    clients = taken(site)
    assert set(clients.values()) <= {0, 1}, clients
    before, services, product = dict(site.platform.secrets), pids(site), f"tea {uuid.uuid4()}"
    seen: dict[str, Any] = {}
    trying = threading.Thread(target=lambda: seen.update(site.python(OLD)), daemon=True)
    (long,) = site.send("[count.delay(90)]")  # longer than a rotation takes, up to where the old passwords would go
    eventually(lambda: site.log_lines([long], "received")[long], bool)
    trying.start()
    with orders(site, product) as answers:
        eventually(lambda: len(answers), (5).__le__)
        site.make("rotate")
    trying.join()

    assert set(answers) == {202}
    placed = eventually(
        lambda: site.python(f"PRODUCT = {product!r}\n{ORDERS}"), lambda placed: not placed["waiting"], within=60
    )
    assert placed["sold"] == len(placed["orders"]) == len(answers), "each once"
    assert site.states([long]) == {"SUCCESS": 1}
    assert site.log_lines([long], "received") == site.log_lines([long], "succeeded") == {long: 1}

    assert set(seen["refused"]) == {"broker", "results", "database"}, json.dumps(seen)
    assert [had for _, had in seen["refused"].values()] == [[], [], []], json.dumps(seen)
    assert taken(site) == clients
    assert pids(site) == services
    del site.platform.secrets
    after = site.platform.secrets
    assert {name for name in before if before[name] == after[name]} == {"secret_key"}
    site.take_secrets()
    site.healthy(within=60)
