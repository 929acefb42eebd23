"""Orders: nothing is lost between the database and the broker, and duplicates are harmless."""

import json
import os
import queue
import signal
import subprocess
import sys
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import Client
from django.utils import timezone

from tasks import app, confirm, outbox, prune, relay
from tasks.models import Order, Outgoing, Product, Receipt

APP = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def empty_broker() -> None:
    app.control.purge()


def post(client: Client, body: Any) -> Any:
    return client.post("/api/orders", body, content_type="application/json")


def place(client: Client, **body: Any) -> str:
    """Place an order; return its id."""
    response = post(client, {"product": "tea", "quantity": 2, **body})
    assert response.status_code == 202, response.content
    return str(response.json()["id"])


def published() -> list[tuple[str, str, list[Any]]]:
    """Take from the broker what it has: id, task and arguments of each."""
    found = []
    with app.connection_for_read() as connection, connection.SimpleQueue("celery") as waiting:
        while True:
            try:
                message = waiting.get(block=False)
            except queue.Empty:
                return found
            found.append((message.headers["id"], message.headers["task"], message.payload[0]))
            message.ack()


def age(**past: float) -> None:
    """Let what is in the outbox be as old as that."""
    Outgoing.objects.update(created=timezone.now() - timedelta(**past))


# --- the API ------------------------------------------------------------------------------------------------------


def test_an_order_is_placed_sent_and_confirmed(client: Client) -> None:
    response = post(client, {"product": "tea", "quantity": 2})
    accepted = response.json()
    assert response.status_code == 202
    assert accepted == {"id": accepted["id"], "url": f"/api/orders/{accepted['id']}"}
    order = client.get(accepted["url"]).json()
    assert (order["product"], order["quantity"], order["state"], order["confirmed"]) == ("tea", 2, "placed", None)
    assert published() == [(accepted["id"], "tasks.confirm", [accepted["id"]])]
    assert confirm(accepted["id"]) is True
    order = client.get(accepted["url"]).json()
    assert order["state"] == "confirmed"
    assert order["placed"] < order["confirmed"]
    age(days=1)
    assert (relay(), published()) == (0, [])


def test_placing_it_again_places_it_once(client: Client) -> None:
    mine = str(uuid.uuid4())
    assert place(client, id=mine) == place(client, id=mine) == mine
    assert [one[0] for one in published()] == [mine]
    response = post(client, {"product": "tea", "quantity": 3, "id": mine})
    assert (response.status_code, response.json()["error"]["code"]) == (409, "id_taken")
    assert Order.objects.get().quantity == 2


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ("{", 400, "not JSON"),
        ([], 422, '{"product": "tea", "quantity": 2}'),
        ({}, 422, "product must be"),
        ({"product": "", "quantity": 1}, 422, "product must be"),
        ({"product": "t" * 51, "quantity": 1}, 422, "product must be"),
        ({"product": "te\0a", "quantity": 1}, 422, "product must be"),
        ({"product": "tea"}, 422, "quantity must be"),
        ({"product": "tea", "quantity": 0}, 422, "quantity must be"),
        ({"product": "tea", "quantity": 1001}, 422, "quantity must be"),
        ({"product": "tea", "quantity": True}, 422, "quantity must be"),
        ({"product": "tea", "quantity": 1, "id": "1"}, 422, "UUID"),
        ({"product": "tea", "quantity": 1, "id": 1}, 422, "UUID"),
        ({"product": "tea", "quantity": 1, "price": 0}, 422, "unknown: price; known: product, quantity, id"),
    ],
)
def test_bad_orders_are_refused(client: Client, body: Any, status: int, words: str) -> None:
    response = post(client, body)
    assert response.status_code == status
    assert words in response.json()["error"]["message"]
    assert not Order.objects.exists()


def test_an_unknown_order(client: Client) -> None:
    assert client.get(f"/api/orders/{uuid.uuid4()}").status_code == 404
    assert client.get("/api/orders").status_code == 405


def test_not_accepted_without_the_database(client: Client, database_down: None) -> None:
    mine = str(uuid.uuid4())
    response = post(client, {"product": "tea", "quantity": 2, "id": mine})
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["id"]) == (503, "database_unavailable", mine)
    assert client.get(f"/api/orders/{mine}").status_code == 503
    assert published() == []


# --- duplicates are harmless --------------------------------------------------------------------------------------


def test_confirming_again_does_nothing(client: Client) -> None:
    orders = [place(client), place(client, quantity=5)]
    assert [confirm(order) for order in [*orders, *orders, orders[0]]] == [True, True, False, False, False]
    assert Product.objects.get().sold == 7


def test_receipt_and_effect_are_one(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    order = place(client)
    with monkeypatch.context() as patch:
        patch.setattr("django.db.models.query.QuerySet.update", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            confirm(order)
    assert not Receipt.objects.exists()
    assert confirm(order) is True


def test_it_is_tried_again_while_the_database_is_away(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    order = place(client)
    connect, attempts = BaseDatabaseWrapper.ensure_connection, []

    def flaky(self: BaseDatabaseWrapper) -> None:
        attempts.append(1)
        if len(attempts) < 10:
            raise OperationalError("the database system is starting up")
        connect(self)

    monkeypatch.setattr(BaseDatabaseWrapper, "ensure_connection", flaky)
    assert confirm.apply((order,)).get() is True
    assert Product.objects.get().sold == 2


def run(code: str, environment: dict[str, str], **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run code in a process that has the app, with a database and a broker that are files."""
    code = f"import tasks, django; django.setup()\n{code}"
    return subprocess.run([sys.executable, "-c", code], cwd=APP, env=environment, text=True, **options)


@pytest.fixture
def migrated(environment: dict[str, str]) -> dict[str, str]:
    subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=APP, env=environment, check=True)
    return environment


def test_two_at_the_same_time_do_it_once(migrated: dict[str, str]) -> None:
    code = """
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from django.db import connection
from tasks import confirm, orders
from tasks.models import Product

ids = [orders.place("tea", 3).pk for _ in range(5)]
together = Barrier(4)

def both(_):
    try:
        done = [together.wait() >= 0 and confirm(str(id)) for id in ids]
    finally:
        connection.close()
    return done

with ThreadPoolExecutor(4) as pool:
    done = list(pool.map(both, range(4)))
print([sum(each) for each in zip(*done)], Product.objects.get().sold)
"""
    assert run(code, migrated, stdout=subprocess.PIPE, check=True).stdout == "[1, 1, 1, 1, 1] 15\n"


# --- nothing is lost between the database and the broker ----------------------------------------------------------


def test_what_is_rolled_back_is_not_sent() -> None:
    with transaction.atomic():
        outbox.send(confirm, "x", task_id=uuid.uuid4())
        transaction.set_rollback(True)
    assert (published(), Outgoing.objects.count()) == ([], 0)


def test_there_is_no_order_that_nothing_will_confirm(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise OperationalError("the connection is lost")

    monkeypatch.setattr(Outgoing.objects, "create", refuse)
    assert post(client, {"product": "tea", "quantity": 2}).status_code == 503
    assert not Order.objects.exists()


def test_an_order_is_accepted_without_the_broker(
    client: Client, monkeypatch: pytest.MonkeyPatch, broker_down: None
) -> None:
    order = place(client)
    monkeypatch.undo()
    assert (relay(), published()) == (0, []), "whoever committed it has some seconds"
    age(seconds=6)
    assert (relay(), published()) == (1, [(order, "tasks.confirm", [order])])
    assert (relay(), published()) == (0, [])


def test_the_relay_keeps_what_the_broker_does_not_take(
    client: Client, monkeypatch: pytest.MonkeyPatch, broker_down: None
) -> None:
    orders = {place(client), place(client)}
    age(seconds=6)
    with pytest.raises(Exception, match="connection refused"):
        relay()
    assert Outgoing.objects.filter(sent=None).count() == 2
    monkeypatch.undo()
    assert relay() == 2
    assert {one[0] for one in published()} == orders


def test_an_order_survives_a_crash_between_commit_and_publish(
    migrated: dict[str, str], prefork: Any, tmp_path: Path
) -> None:
    order = str(uuid.uuid4())
    crash = f"""
import os, signal
from django.test import Client
from tasks import outbox
outbox.publish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
client = Client(headers=dict(host="localhost"))
client.post("/api/orders", dict(product="tea", quantity=2, id={order!r}), content_type="application/json")
"""
    assert run(crash, migrated).returncode == -signal.SIGKILL
    assert os.listdir(tmp_path / "queue") == []
    later = """
from datetime import timedelta
from tasks import outbox
outbox.GRACE = timedelta(0)
print(outbox.relay(), outbox.relay())
"""
    assert run(later, migrated, stdout=subprocess.PIPE, check=True).stdout == "1 0\n"
    process = prefork(f"confirm.s({order!r}), crash.s('worker')")  # and once more
    _, log = process.communicate(timeout=60)
    ran = [json.loads(line) for line in (tmp_path / "ledger").read_text().splitlines()]
    assert [one["id"] == order for one in ran if one["task"] == "tasks.confirm"] == [True, True, False, False], log
    seen = "from tasks.models import *; print(Product.objects.get().sold, Receipt.objects.get().pk)"
    assert run(seen, migrated, stdout=subprocess.PIPE, check=True).stdout == f"2 {order}\n"


def test_what_was_sent_is_forgotten_after_a_day(client: Client) -> None:
    place(client)
    kept = Outgoing.objects.create(id=uuid.uuid4(), task="tasks.confirm", created=timezone.now() - timedelta(days=9))
    assert prune() == 0
    Outgoing.objects.exclude(pk=kept.pk).update(sent=timezone.now() - timedelta(days=2))
    assert prune() == 1
    assert Outgoing.objects.get() == kept
