"""celery-dead shows, requeues and drops dead letters; health says that there are some."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.hosts.support import Site, eventually

# On RabbitMQ 4 our application tries it.
pytestmark = pytest.mark.unless("plain", "debian13")

# A task that is rejected on its way; beat's are not.
DEAD_LETTER_IN_RABBITMQ = """
import json
from tasks import add, app
sent = add.apply_async((2, 3), queue={queue!r})
with app.connection_for_write() as connection:
    channel = connection.default_channel
    while (message := channel.basic_get({queue!r})).headers["id"] != sent.id:
        pass
    channel.basic_reject(message.delivery_tag, requeue=False)
print(json.dumps(sent.id))
"""

# A task as the transport for Redis would have written it to its queue, among the dead letters.
DEAD_LETTER_IN_REDIS = """
import json, time
from tasks import add, app
written = []
with app.connection_for_write() as connection:
    channel = connection.default_channel
    channel._put = lambda queue, message, **_: written.append(message)
    with app.amqp.Producer(channel) as producer:
        sent = add.apply_async((2, 3), queue={queue!r}, producer=producer)
    dead = {{"message": written[0], "queue": {queue!r}, "reason": "rejected", "count": 3, "time": time.time()}}
    with channel.conn_or_acquire() as client:
        client.rpush("celery.dead", json.dumps(dead))
print(json.dumps(sent.id))
"""

# Makes ways to a queue, or closes them: routing keys by exchange.
BIND = """
from tasks import app
with app.connection_for_write() as connection:
    for exchange, key in {ways!r}.items():
        connection.default_channel.queue_{do}({queue!r}, exchange, key)
print("null")
"""


def dead(site: Site, arguments: str = "", status: int = 0) -> str:
    """What celery-dead says to an operator, and with which exit code."""
    return site.run(f"celery-dead {arguments} </dev/null", user=site.platform.operator, status=status)


def dead_letters(site: Site) -> list[dict[str, Any]]:
    """All dead letters."""
    return [json.loads(line) for line in dead(site, "--json").splitlines() if line.startswith("{")]


def result(site: Site, id: str) -> Any:
    """What a task returned."""
    return site.python(f"import json, tasks; print(json.dumps(tasks.app.AsyncResult({id!r}).get(timeout=10)))")


@pytest.fixture
def lane(site: Site) -> str:
    """One of the queues; they are all alike in this."""
    return site.platform.queues[-1]


@pytest.fixture
def task(site: Site, lane: str) -> str:
    """The id of a task that was dead-lettered on its way through the queue; its worker would know how to run it."""
    if site.platform.broker == "redis":
        return str(site.python(DEAD_LETTER_IN_REDIS.format(queue=lane)))
    site.run(f"celery -A tasks control cancel_consumer {lane}")
    sent = str(site.python(DEAD_LETTER_IN_RABBITMQ.format(queue=lane)))
    site.run(f"celery -A tasks control -d {reader(site, lane)} add_consumer {lane}")
    eventually(lambda: dead_letters(site), bool)
    return sent


def reader(site: Site, lane: str) -> str:
    """The node that reads a queue."""
    return next(node for node, worker in zip(site.nodes, site.platform.workers, strict=True) if lane in worker.queues)


def test_a_dead_letter_is_seen_and_runs_when_it_is_requeued(site: Site, lane: str, task: str) -> None:
    """With its arguments, in the queue that it came from; until then the host is called degraded."""
    (found,) = dead_letters(site)
    assert {name: found[name] for name in ("id", "task", "queue", "reason", "args")} == {
        "id": task,
        "task": "tasks.add",
        "queue": lane,
        "reason": "rejected",
        "args": "[2, 3]",
    }
    assert f"{task}  tasks.add  {lane}" in dead(site)
    assert f"id: {task}" in dead(site, f"show {task}")
    code, health = eventually(site.health, lambda said: said[0] != 2)
    (warning,) = [check for check in health["checks"] if not check["ok"]]
    assert (code, warning["name"], warning["detail"]) == (1, "celery.dead", "1 dead-lettered")
    assert "celery-dead" in warning["advice"]

    assert f"requeued to {lane}: {task}" in dead(site, f"retry {task}")
    assert result(site, task) == 5
    assert "0 of 0 dead-lettered" in dead(site)
    assert eventually(site.health, lambda said: said[0] == 0)


def test_a_dead_letter_is_dropped_when_that_is_meant(site: Site, task: str) -> None:
    """And not without being told so."""
    assert "--yes" in dead(site, f"drop {task}", status=2)
    assert [one["id"] for one in dead_letters(site)] == [task]
    assert f"dropped: {task}" in dead(site, f"drop {task} --yes")
    assert f"{task} is not dead-lettered" in dead(site, f"show {task}", status=1)
    assert site.states([task]) == {"PENDING": 1}
    assert "0 of 0 dead-lettered" in dead(site)


def test_a_task_that_expires_is_discarded_and_not_dead_lettered(site: Site, lane: str) -> None:
    """By the worker that would have run it, however long it waited."""
    site.run(f"celery -A tasks control cancel_consumer {lane}")
    try:
        (sent,) = site.send(f"[add.apply_async((2, 3), queue={lane!r}, expires=1)]")
        time.sleep(3)  # it expires; nothing else tells that a broker leaves it alone
        assert "0 of 0 dead-lettered" in dead(site)
    finally:
        site.run(f"celery -A tasks control -d {reader(site, lane)} add_consumer {lane}")
    eventually(lambda: site.states([sent]), lambda states: states == {"REVOKED": 1})
    assert "0 of 0 dead-lettered" in dead(site)


@pytest.mark.needs("rabbitmq")
def test_an_unroutable_task_is_given_to_a_queue_that_there_is(site: Site, lane: str) -> None:
    """It stays dead-lettered while there is no queue for it."""
    (sent,) = site.send(f"[add.apply_async((2, 3), exchange={lane!r}, routing_key='nobody')]")
    (found,) = eventually(lambda: dead_letters(site), bool)
    assert (found["id"], found["queue"], found["reason"]) == (sent, "nobody", "unroutable")
    assert "there is no queue nobody" in dead(site, f"retry {sent}", status=1)
    dead(site, f"retry --all --to {lane}")
    assert result(site, sent) == 5
    assert "0 of 0 dead-lettered" in dead(site)


@pytest.mark.needs("rabbitmq")
def test_an_unroutable_task_goes_on_when_there_is_a_way(site: Site, lane: str) -> None:
    """As it was sent, each time that a worker gets its connection; until then it is kept."""
    delay = ".".join("0" * 27 + "1")
    sent = site.send(
        f"[add.apply_async((2, 3), exchange={lane!r}, routing_key='later'),"
        f" add.apply_async((4, 5), exchange='celery_delayed_0', routing_key='{delay}.later')]"
    )
    eventually(lambda: [one["queue"] for one in dead_letters(site)], lambda queues: queues == ["later", "later"])
    ways = {lane: "later", "celery_delayed_delivery": "#.later"}
    site.python(BIND.format(do="bind", queue=lane, ways=ways))
    site.run(f"supervisorctl restart {site.platform.workers[0].program}")
    assert [result(site, id) for id in sent] == [5, 9]
    site.python(BIND.format(do="unbind", queue=lane, ways=ways))
    assert "0 of 0 dead-lettered" in dead(site)


@pytest.mark.needs("rabbitmq")
def test_a_task_that_is_refused_again_is_dead_lettered_again(site: Site, lane: str) -> None:
    """Once, with its deaths counted anew."""
    (sent,) = site.send(f"[__import__('tasks').app.send_task('no.such.task', queue={lane!r})]")
    for _ in range(2):
        (found,) = eventually(lambda: dead_letters(site), bool)
        assert (found["id"], found["headers"]["x-death"][0]["count"]) == (sent, 1)
        dead(site, "retry --all")
    eventually(lambda: dead_letters(site), bool)
    dead(site, "drop --all --yes")
    assert "0 of 0 dead-lettered" in dead(site)


@pytest.mark.needs("rabbitmq")
def test_looking_wears_nothing_out(site: Site) -> None:
    """More often than RabbitMQ's own limit of deliveries, 20, and it is still there."""
    message = {"properties": {}, "routing_key": "", "payload": "keep me", "payload_encoding": "string"}
    site.management("exchanges/celery/celery.dead/publish", message)
    wanted = {"count": 1, "ackmode": "reject_requeue_true", "encoding": "auto"}
    for _ in range(25):
        eventually(lambda: site.management("queues/celery/celery.dead/get", wanted), bool)
    assert [one["body"] for one in dead_letters(site)] == ["keep me"]
    dead(site, "drop --all --yes")
    assert "0 of 0 dead-lettered" in dead(site)
