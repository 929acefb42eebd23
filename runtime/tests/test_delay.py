"""A Celery before 5.5 leaves the messages of delayed tasks in RabbitMQ until they are due, as a later one does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from kombu import Exchange, Queue

from celery_on_hosts import delay, rabbitmq_transport

QUORUM = {"x-queue-type": "quorum"}
QUEUES = (
    Queue("celery", Exchange("celery", "topic"), "celery", queue_arguments=QUORUM),
    Queue("direct", Exchange("direct", "direct"), "direct", queue_arguments=QUORUM),
    Queue("classic", Exchange("classic", "topic"), "classic"),
)
TO_LEVELS = ("celery_delayed_27", "topic", None)


@pytest.fixture
def app():
    app = Celery("x", set_as_current=False, broker="memory://")
    app.conf.task_queues = QUEUES
    return app


@pytest.fixture
def sent(app):
    """Return the options with which Celery sends a message: ``sent(eta, queue=…)``."""

    def create(_: Any) -> Any:
        return lambda producer, name, message, **options: options

    def send(eta: Any, **options: Any) -> dict[str, Any]:
        message = SimpleNamespace(headers={"eta": eta and eta.isoformat()})
        return delay._send_later(create)(app.amqp)(None, "task", message, **options)

    return send


def later(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def waits(options: dict[str, Any]) -> int:
    """Return for how many seconds the levels hold a message."""
    *bits, _ = options["routing_key"].split(".")
    assert len(bits) == delay.LEVELS
    return int("".join(bits), 2)


@pytest.mark.parametrize(("seconds", "waited"), [(0.2, 1), (25, 25), (24.2, 25), (3600 * 24 * 365 * 20, delay.LONGEST)])
def test_a_delayed_task_goes_to_the_levels(sent, seconds, waited):
    options = sent(later(seconds), queue="celery")
    assert (options["exchange"], options["exchange_type"], options["queue"]) == TO_LEVELS
    assert options["routing_key"].endswith(".celery")
    assert waits(options) == waited


@pytest.mark.parametrize(
    "options", [{"queue": QUEUES[0]}, {"exchange": "celery", "routing_key": "celery"},
                {"exchange": QUEUES[0].exchange, "routing_key": "celery"}]
)  # fmt: skip
def test_however_its_queue_is_named(sent, options):
    assert waits(sent(later(9), **options)) == 9


def test_an_eta_without_a_zone_is_utc(sent):
    assert waits(sent(later(9).replace(tzinfo=None), queue="celery")) == 9


@pytest.mark.parametrize(
    ("seconds", "queue"), [(None, "celery"), (-5, "celery"), (9, "direct"), (9, "classic"), (9, "unknown")]
)
def test_other_tasks_go_straight_to_their_queues(sent, seconds, queue):
    assert sent(seconds and later(seconds), queue=queue) == {"queue": queue}


class Broker:
    """Exchanges and queues as RabbitMQ has them: what was declared, and where a message of a key goes."""

    def __init__(self) -> None:
        self.exchanges: dict[str, str] = {}
        self.queues: dict[str, dict[str, Any]] = {}
        self.bindings: list[tuple[str, str, str, str]] = []

    def channel(self) -> Any:
        return self

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: Any) -> None: ...

    is_open = True
    no_ack_consumers: set[str] = set()
    connection = SimpleNamespace(client=SimpleNamespace(declared_entities=set()))

    def prepare_queue_arguments(self, arguments: Any, **_: Any) -> Any:
        return arguments

    def exchange_declare(self, exchange: str, type: str, **_: Any) -> None:
        self.exchanges[exchange] = type

    def queue_declare(self, queue: str, arguments: Any, durable: bool, **_: Any) -> Any:
        assert durable
        self.queues[queue] = arguments
        return queue, 0, 0

    def queue_bind(self, queue: str, exchange: str, routing_key: str, **_: Any) -> None:
        self.bindings.append((exchange, "queue", queue, routing_key))

    def exchange_bind(self, destination: str, source: str, routing_key: str, **_: Any) -> None:
        self.bindings.append((source, "exchange", destination, routing_key))

    def deliver(self, exchange: str, key: str) -> dict[str, int]:
        """Return the milliseconds after which a message reaches each queue."""
        found: dict[str, int] = {}
        for source, kind, target, pattern in self.bindings:
            if source != exchange or not matches(pattern.split("."), key.split(".")):
                continue
            if kind == "exchange":
                found |= self.deliver(target, key)
            elif "x-message-ttl" not in (self.queues.get(target) or {}):
                found[target] = 0
            else:
                arguments = self.queues[target]
                following = self.deliver(arguments["x-dead-letter-exchange"], key)
                found |= {queue: wait + arguments["x-message-ttl"] for queue, wait in following.items()}
        return found


def matches(pattern: list[str], key: list[str]) -> bool:
    """Return whether a topic exchange takes a routing key for one of a pattern."""
    if not pattern or not key:
        return pattern in ([], ["#"]) and not key
    if pattern[0] == "#":
        return matches(pattern[1:], key) or matches(pattern, key[1:])
    return pattern[0] in ("*", key[0]) and matches(pattern[1:], key[1:])


@pytest.mark.parametrize("seconds", [1, 2, 25, 86_399, delay.LONGEST])
def test_the_levels_hold_a_message_for_its_time(seconds):
    broker = Broker()
    delay.declare(broker, [QUEUES[0]])
    assert broker.deliver("celery_delayed_27", delay.delayed_key(seconds, "celery")) == {"celery": seconds * 1000}


def test_the_levels_are_those_of_a_later_celery():
    native = pytest.importorskip("kombu.transport.native_delayed_delivery", reason="kombu before 5.5 has none")
    ours, theirs = Broker(), Broker()
    delay.declare(ours, [QUEUES[0]])
    native.declare_native_delayed_delivery_exchanges_and_queues(theirs, "quorum")
    native.bind_queue_to_native_delayed_delivery_exchange(theirs, QUEUES[0])
    assert ours.queues == theirs.queues
    assert ours.exchanges == theirs.exchanges
    assert sorted(set(ours.bindings)) == sorted(set(theirs.bindings))
    assert delay.delayed_key(25, "celery") == native.calculate_routing_key(25, "celery")


def test_only_where_it_is_needed(app, monkeypatch):
    assert delay.uses_quorum_queues(app)
    app = Celery("x", set_as_current=False, broker="memory://")
    assert not delay.uses_quorum_queues(app)


@pytest.mark.parametrize("by_queue", [True, False])
def test_quorum_queues_are_not_asked_for_a_prefetch_of_the_whole_channel(monkeypatch, by_queue):
    monkeypatch.setattr(rabbitmq_transport, "prefetch_by_queue", by_queue)
    transport = rabbitmq_transport.Transport.__new__(rabbitmq_transport.Transport)
    rabbitmq = SimpleNamespace(server_properties={"product": "RabbitMQ", "version": "3.12.1"})
    assert transport.qos_semantics_matches_spec(rabbitmq) is by_queue
