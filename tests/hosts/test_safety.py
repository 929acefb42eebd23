"""What keeps tasks: the settings of live workers, and what becomes of messages that nobody can run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from runpy import run_path
from typing import Any
from urllib.parse import quote

import pytest

from tests.hosts.support import ROOT, Site, eventually, once

# A message whose body, once unpickled, would leave a file.
PICKLE = """
import json, os, tempfile
from tasks import add
class Mine:
    def __reduce__(self):
        return os.system, ("touch /tmp/verify-pickle",)
bad = add.apply_async((Mine(), 1), serializer="pickle")
good = add.delay(2, 3)
print(json.dumps([good.get(timeout=10), bad.state, bad.id]))
"""

UNSIGNED = """
import json
from tasks import add
bad = add.apply_async((1, 1), serializer="json")
print(json.dumps([add.delay(2, 3).get(timeout=10), bad.state, bad.id]))
"""

# A worker that takes signed messages alone, beside the others, on a queue of its own. It is sent an unsigned message, a
# signed one with other arguments than were signed, and as it should be.
SIGNED = """
import json, os, signal, subprocess, sys
from base64 import b64decode, b64encode
from uuid import uuid4
os.environ.update({environment})
from kombu.serialization import dumps
from tasks import add, app
queue = app.amqp.queues["verify-signed"]
worker = [sys.executable, "-m", "celery_on_hosts", "-A", "tasks", "worker", "-l", "INFO", "-P", "solo",
          "-n", "verify-signed@%h", "-Q", queue.name, "--without-gossip", "--without-mingle", "--without-heartbeat"]
unsigned = add.apply_async((1, 1), queue=queue.name, serializer="json")
altered = add.AsyncResult(str(uuid4()))
message = app.amqp.as_task_v2(altered.id, add.name, (4, 4))
kind, encoding, body = dumps(message.body, "auth")
other = b64decode(body).replace(b"[4, 4]", b"[5, 5]")
assert other != b64decode(body)
with app.amqp.producer_pool.acquire() as producer:
    producer.publish(b64encode(other), exchange=queue.exchange, routing_key=queue.routing_key, headers=message.headers,
                     content_type=kind, content_encoding=encoding, **message.properties)
signed = add.apply_async((2, 3), queue=queue.name)
with subprocess.Popen(worker, stderr=subprocess.PIPE, text=True) as process:
    try:
        result = signed.get(timeout=60)
    finally:
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=30)[1]
with app.connection_for_write() as connection:
    connection.default_channel.queue_delete(queue.name)
    connection.default_channel.exchange_delete(queue.exchange.name)
why = [word for word in ("Refusing to deserialize", "DecodeError") if word in said]
print(json.dumps([result, unsigned.state, altered.state, why, unsigned.id]))
"""

DEAD_ON_REDIS = """
import json
from tasks import app
with app.connection_for_write() as connection:
    taken = connection.default_channel.client.lpop("celery.dead", 100)
print(json.dumps([one.decode() for one in taken or ()]))
"""

# To each queue, more tasks with an ETA than its worker may hold unacknowledged, then one that is due.
ETA = """
import json, time
from tasks import add
sent = time.time()
late = [add.apply_async((i, i), countdown={wait}, queue=queue) for queue, n in {numbers}.items() for i in range(n)]
due = [add.apply_async((2, 3), queue=queue) for queue in {numbers}]
results = [task.get(timeout=60) for task in due]
sums = [task.get(timeout=60) for task in late]
ended = lambda tasks: [task.date_done.timestamp() - sent for task in tasks]
print(json.dumps([results, sums, max(ended(due)), min(ended(late))]))
"""


@pytest.fixture(scope="module")
def workers_settings(site: Site) -> dict[str, dict[str, Any]]:
    """The settings that each live worker says that it has, by node."""
    found: dict[str, dict[str, Any]] = json.loads(site.run("celery -A tasks inspect conf --json"))
    return found


def test_workers_run_with_the_safe_settings(site: Site, workers_settings: dict[str, dict[str, Any]]) -> None:
    """Asked of the workers, not read in a file."""
    safe = {
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_create_missing_queues": False,
        "result_serializer": "json",
        "result_accept_content": ["json"],
        "broker_connection_max_retries": None,
    }
    # Celery does not tell what an application has set by names with a prefix, as Django's are.
    safe |= {} if "example" in site.platform.features else {"task_serializer": "json", "accept_content": ["json"]}
    assert sorted(workers_settings) == sorted(site.nodes)
    for node, settings in workers_settings.items():
        assert {name: settings.get(name, "unset") for name in safe} == safe, node
        options = settings["broker_transport_options"]
        if site.platform.broker == "rabbitmq":
            assert options["confirm_publish"] is True
            assert settings["worker_detect_quorum_queues"] is True
        else:
            assert options["visibility_timeout"] == 30
            assert options["delivery_limit"] == site.platform.variables["celery_delivery_limit"]


@pytest.mark.needs("example")  # the other application has limits of its own
def test_workers_limit_tasks_that_have_no_limit(site: Site) -> None:
    """By the pool's own limits, in seconds; only prefork has any."""
    stats: dict[str, dict[str, Any]] = json.loads(site.run("celery -A tasks inspect stats --json"))
    limits = [limits for one in stats.values() if (limits := one["pool"].get("timeouts"))]
    wanted = [site.platform.variables[f"celery_{name}"] for name in ("soft_time_limit", "time_limit")]
    assert limits
    assert limits == [wanted] * len(limits)


def test_producers_have_them_too(site: Site) -> None:
    """A shell that only sends tasks gets confirms, and an error where no queue of the name is."""
    said = site.python(
        "import json; from tasks import add, app\n"
        "try: add.apply_async((1, 1), queue='nowhere'); refused = ''\n"
        "except Exception as error: refused = type(error).__name__\n"
        "options = app.conf.broker_transport_options\n"
        "with app.connection_for_write() as connection: channel = connection.default_channel\n"
        "confirms = getattr(channel, '_confirm_selected', None) or options.get('confirm_publish')\n"
        "print(json.dumps([refused, bool(confirms)]))"
    )
    assert said == ["QueueNotFound", site.platform.broker == "rabbitmq"]


def test_pickle_is_refused(site: Site) -> None:
    """It is not executed, and the worker goes on with the next message."""
    result, state, sent = site.python(PICKLE)
    assert (result, state) == (5, "PENDING")
    assert not site.host.file("/tmp/verify-pickle").exists  # noqa: S108
    assert "Refusing to deserialize" in site.run("cat /var/log/celery/celery*.log")
    assert _dead_letters(site) == [sent], "and it is kept for who wants to know"


@pytest.mark.needs("signing")
def test_an_unsigned_message_is_refused(site: Site) -> None:
    """And the worker goes on. What is signed by another key, or altered, is tried in the application's own tests."""
    result, state, sent = site.python(UNSIGNED)
    assert (result, state) == (5, "PENDING")
    assert _dead_letters(site) == [sent], "and it is kept for who wants to know"


@pytest.fixture
def key(site: Site) -> Iterator[dict[str, str]]:
    """A key and its certificate, made as the deployment makes them, and how the application is told of them."""
    make, self_signed = (
        run_path(str(ROOT / "plugins" / path))[name]
        for path, name in (("lookup/rsa_key.py", "make"), ("filter/signing.py", "self_signed"))
    )
    made = make().decode()
    path = "/var/lib/celery/verify-signing"
    for suffix, content in (("key", made), ("crt", self_signed(made, "celery"))):
        site.podman("exec", "sh", "-c", f"umask 077; cat >{path}.{suffix}; chown celery {path}.{suffix}", stdin=content)
    yield {
        "CELERY_SECURITY_KEY": f"{path}.key",
        "CELERY_SECURITY_CERTIFICATE": f"{path}.crt",
        "CELERY_SECURITY_CERT_STORE": f"{path}.crt",
    }
    site.run(f"rm {path}.key {path}.crt")


@once
def test_a_worker_with_a_key_takes_nothing_but_what_it_signed(site: Site, key: dict[str, str]) -> None:
    """The unsigned message is refused and kept, as all that a worker refuses; the altered one cannot be read."""
    environment = {**key, "TASKS_QUEUES": ",".join([*site.platform.queues, "verify-signed"])}
    result, unsigned, altered, why, refused = site.python(SIGNED.format(environment=environment))
    assert (result, unsigned, altered) == (5, "PENDING", "PENDING")
    assert why == ["Refusing to deserialize", "DecodeError"]
    if site.platform.broker == "redis":  # at RabbitMQ the policy says it, of the platform's queues alone
        assert _dead_letters(site) == [refused]


@pytest.mark.needs("signing")
def test_the_signing_key_is_for_the_application_alone(site: Site) -> None:
    """Its certificate is no secret."""
    key, certificate = (site.host.file(f"/etc/celery/signing.{name}") for name in ("key", "crt"))
    assert (key.user, key.group, key.mode) == ("root", "celery", 0o640)
    assert certificate.mode == 0o644


def test_a_task_that_no_worker_knows_is_dead_lettered(site: Site, queue: str) -> None:
    """Among the dead letters, whole, and none is lost."""
    sent = site.send(f"[__import__('tasks').app.send_task('no.such.task', args=(1, 2), queue={queue!r})]")
    assert _dead_letters(site) == sent


@pytest.mark.unless("plain", "debian13")
def test_tasks_of_the_future_block_nobody(site: Site) -> None:
    """They come when they are due, not before, and the other tasks of their queue do not wait for them."""
    prefetch = site.platform.variables["celery_prefetch_multiplier"]
    numbers = {queue: worker.concurrency * prefetch + 1 for worker in site.platform.workers for queue in worker.queues}
    results, sums, last_due, first_late = site.python(ETA.format(wait=8, numbers=numbers))
    assert results == [5] * len(numbers)
    assert sums == [2 * i for number in numbers.values() for i in range(number)]
    assert last_due < first_late, "tasks that were due waited for those that were not"
    assert first_late > 7.9


def _dead_letters(site: Site) -> list[str]:
    """Take the dead letters off, when there are some; return the tasks' ids."""
    if site.platform.broker == "rabbitmq":
        return [message["properties"]["headers"]["id"] for message in _take(site, "celery.dead")]
    taken = eventually(lambda: site.python(DEAD_ON_REDIS), bool)
    return [entry["message"]["headers"]["id"] for entry in map(json.loads, taken)]


# --- RabbitMQ --------------------------------------------------------------------------------------------------------


def _queue(site: Site, name: str) -> dict[str, Any]:
    found: dict[str, Any] = site.management(f"queues/celery/{quote(name)}")
    return found


def _take(site: Site, queue: str) -> list[dict[str, Any]]:
    """Take what waits in a queue off it, when there is something."""
    wanted = {"count": 100, "ackmode": "ack_requeue_false", "encoding": "auto"}
    return eventually(lambda: site.management(f"queues/celery/{queue}/get", wanted), bool)


@pytest.mark.needs("rabbitmq")
def test_queues_are_quorum_queues_under_the_policy(site: Site, queue: str) -> None:
    """Messages are on disk, and have somewhere to go when they cannot be run."""
    found = _queue(site, queue)
    assert (found["type"], found["durable"], found["policy"]) == ("quorum", True, "tasks")
    assert found["effective_policy_definition"] == {
        "dead-letter-exchange": "celery.dead",
        "dead-letter-strategy": "at-least-once",
        "overflow": "reject-publish",
        "delivery-limit": site.platform.variables["celery_delivery_limit"],
    }
    exchange = site.management(f"exchanges/celery/{quote(queue)}")
    assert (exchange["type"], exchange["durable"], exchange["policy"]) == ("topic", True, "unroutable")
    for dead_letters in ("celery.dead", "celery.unroutable"):
        assert _queue(site, dead_letters)["type"] == "quorum"


@pytest.mark.needs("rabbitmq")
def test_no_queue_of_the_application_is_less_than_quorum(site: Site) -> None:
    """Only replies, events and what Flower listens with may be lost."""
    lesser = [one["name"] for one in site.management("queues/celery") if one["type"] != "quorum"]
    replies = re.compile(r".*pidbox|celeryev\..*|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # the last of rpc://
    assert [name for name in lesser if not replies.fullmatch(name)] == []


@pytest.mark.needs("rabbitmq")
def test_an_unroutable_message_is_dead_lettered(site: Site, queue: str) -> None:
    """The exchange knows no queue for it, and it is kept."""
    message = {"properties": {}, "routing_key": "nobody", "payload": "lost?", "payload_encoding": "string"}
    site.management(f"exchanges/celery/{quote(queue)}/publish", message)
    assert [one["payload"] for one in _take(site, "celery.unroutable")] == ["lost?"]


# --- Redis -----------------------------------------------------------------------------------------------------------


def test_redis_keeps_what_it_has_accepted(site: Site, secrets: str) -> None:
    """As it runs: each write is on disk before it is answered, and nothing is evicted."""
    wanted = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
    names = " ".join([*wanted, "maxmemory"])
    said = site.run(f". {secrets}; REDISCLI_AUTH=$redis_operator redis-cli --user operator config get {names}")
    lines = said.split("\n")
    live = dict(zip(lines[::2], lines[1::2], strict=False))
    assert {name: live[name] for name in wanted} == wanted
    assert int(live["maxmemory"]) > 0
