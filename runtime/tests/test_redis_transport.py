"""No message that a worker claims from a real Redis is lost; kombu's own transport loses some under the same faults."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from celery import Celery
from celery.worker import state
from kombu import Connection, Exchange, Queue
from kombu import transport as transports
from redis.exceptions import ResponseError

from celery_on_hosts import redis_claims, redis_holders

ATOMIC = "celery_on_hosts.redis_transport:Transport"
STOCK = "kombu.transport.redis:Transport"
HERE = Path(__file__).parent


@pytest.fixture
def connect(server, redis):
    """Make connections: ``connect(transport, option=value)``."""
    with contextlib.ExitStack() as stack:
        yield lambda transport=ATOMIC, **options: stack.enter_context(
            Connection(server.url, transport=transport, transport_options=options)
        )


def publish(connection, *bodies, queue="q", **options):
    producer = connection.Producer()
    for body in bodies:
        producer.publish(body, routing_key=queue, exchange=Exchange(queue), declare=[bound(queue)], **options)


def bound(queue):
    return Queue(queue, Exchange(queue), routing_key=queue)


def get(connection, queue="q"):
    return connection.default_channel.basic_get(queue)


def drain(connection, queue="q", number=1, timeout=5, **options):
    """Consume so many messages; return them and when each arrived."""
    taken = []
    with connection.Consumer(
        [bound(queue)], on_message=lambda message: taken.append((message, time.monotonic())), **options
    ):
        while len(taken) < number:
            connection.drain_events(timeout=timeout)
    return taken


def overdue(connection, seconds=-1):
    """Return at once the messages that nobody confirms."""
    qos = connection.default_channel.qos
    qos.visibility_timeout = seconds
    qos.restore_visible()


def forget(message):
    """Confirm the claim no longer, as a dead process."""
    message.channel.qos._dirty.add(message.delivery_tag)


def dead(redis):
    return [json.loads(entry) for entry in redis.lrange("celery.dead", 0, -1)]


# --- faults ----------------------------------------------------------------------------------------------------------


class Faults:
    """Numbered messages for a consumer that is killed again and again."""

    def __init__(self, server, transport, ledger):
        self.server, self.transport, self.ledger = server, transport, ledger
        self.connection = Connection(server.url, transport=transport)
        self.accepted = []

    def consumer(self):
        arguments = [sys.executable, HERE / "consume.py", self.transport, self.server.url, self.ledger, "q"]
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, env=environment)
        assert process.stdout.readline() == b"ready\n"
        return process

    def publish(self, number):
        numbers = range(len(self.accepted), len(self.accepted) + number)
        publish(self.connection, *numbers, retry=True, retry_policy={"interval_start": 0.1, "max_retries": 30})
        self.accepted += numbers

    def kill_between_take_and_record(self):
        """Stop the consumer while it waits: the server answers, and nobody reads the answer."""
        consumer = self.consumer()
        time.sleep(0.3)
        consumer.send_signal(signal.SIGSTOP)
        self.publish(3)
        time.sleep(0.1)
        consumer.kill()
        consumer.wait()

    def kill_at_work(self, after):
        consumer = self.consumer()
        self.publish(30)
        time.sleep(after)
        consumer.kill()
        consumer.wait()

    def finished(self, within):
        """Return how often each message was finished, when all were or the time is over."""
        consumer = self.consumer()
        deadline = time.monotonic() + within
        while True:
            done = Counter(map(int, self.ledger.read_text().split()))
            if set(done) == set(self.accepted) or time.monotonic() > deadline:
                consumer.kill()
                consumer.wait()
                return done
            time.sleep(0.05)


def test_no_message_is_lost(server, redis, tmp_path):
    faults = Faults(server, ATOMIC, tmp_path / "ledger")
    for round_ in range(3):
        faults.kill_between_take_and_record()
        faults.kill_at_work(0.01 * round_)
    server.kill()
    server.start()
    done = faults.finished(within=20)
    assert set(done) == set(faults.accepted)
    assert sum(done.values()) - len(done) <= 3 * 4, "each kill runs at most the prefetched messages twice"
    assert dead(redis) == []


def test_kombus_own_loses_some(server, redis, tmp_path):
    faults = Faults(server, STOCK, tmp_path / "ledger")
    faults.kill_between_take_and_record()
    done = faults.finished(within=3)
    assert (len(faults.accepted), len(done)) == (3, 2)


# --- claim, acknowledge, give back -----------------------------------------------------------------------------------


def test_a_message_is_recorded_by_its_take(connect, redis):
    connection = connect()
    publish(connection, 1)
    message = get(connection)
    assert redis.llen("q") == 0
    assert list(redis.hgetall("unacked")) == redis.zrange("unacked_index", 0, -1) == [message.delivery_tag]
    message.ack()
    assert redis.keys("unacked*") == []


def test_kombus_transport_reads_our_records_and_we_its(connect, redis):
    ours, stock = connect(), connect(STOCK)
    for taker, restorer in ((ours, stock), (stock, ours)):
        publish(taker, "x")
        message = get(taker)
        overdue(restorer)
        assert redis.llen("q") == 1
        assert (get(restorer).payload, redis.hlen("unacked")) == ("x", 1)
        forget(message)
        redis.flushall()


def test_nothing_is_left_where_nobody_acknowledges(connect, redis):
    connection = connect()
    publish(connection, 1, 2)
    drain(connection, number=1, no_ack=True)
    assert connection.default_channel.basic_get("q", no_ack=True).payload == 2
    assert redis.keys("unacked*") == []


def test_order_and_priorities(connect):
    connection = connect()
    for priority in (9, 0, 3):
        publish(connection, f"{priority}a", f"{priority}b", priority=priority)
    assert [get(connection).payload for _ in range(6)] == ["0a", "0b", "3a", "3b", "9a", "9b"]
    for tag in list(connection.default_channel.qos._delivered):
        connection.default_channel.basic_reject(tag, requeue=True)
    assert [get(connection).payload for _ in range(6)] == ["0a", "0b", "3a", "3b", "9a", "9b"]


def test_a_prefix_of_all_keys(connect, redis):
    connection = connect(global_keyprefix="mine:")
    publish(connection, 1, 2)
    ((message, _),) = drain(connection)
    message.reject()
    get(connection).ack()
    assert redis.llen("mine:celery.dead") == 1
    assert all(key.startswith("mine:") for key in redis.scan_iter())


def test_an_idle_consumer_is_woken(connect, redis):
    """At once after a producer that leaves a token, within a second or so after one with kombu's transport."""
    consumer = connect()
    for transport, within in ((ATOMIC, 0.3), (STOCK, 1.5)):
        producer = connect(transport)
        sent = []

        def send(producer=producer, sent=sent):
            sent.append(time.monotonic())
            publish(producer, 1)

        threading.Timer(0.5, send).start()
        ((message, came),) = drain(consumer)
        message.ack()
        assert 0 <= came - sent[0] < within


# --- what nobody confirms, what is given back ------------------------------------------------------------------------


def test_what_is_lost_comes_first_again_and_says_so(connect):
    connection = connect()
    publish(connection, "lost", "waits")
    get(connection)
    overdue(connection)
    message = get(connection)
    assert message.payload == "lost"
    assert message.delivery_info["redelivered"] is message.headers["redelivered"] is True
    assert "redelivered" not in get(connection).headers


def test_what_is_confirmed_is_not_lost(connect, redis):
    """However long the task, and whoever looks: the holder confirms its claim three times within the timeout."""
    holder, other = connect(visibility_timeout=0.6), connect()
    publish(holder, 1)
    get(holder)
    for _ in range(8):
        time.sleep(0.2)
        overdue(other, 0.6)
    assert (redis.llen("q"), redis.hlen("unacked")) == (0, 1)


def test_what_a_dead_process_of_this_host_held_comes_back_when_a_worker_begins(connect, redis, monkeypatch):
    connection = connect()
    publish(connection, "ours", "dead", "reborn", "elsewhere", "waits")
    held = {message.payload: message for message in (get(connection) for _ in range(4))}
    ended = subprocess.Popen(["true"])
    ended.wait()
    holders = {
        "dead": f"{redis_holders.host()}/{ended.pid}/x",
        "reborn": f"{redis_holders.host()}/{os.getpid()}/x",  # this process has its number now
        "elsewhere": f"other.host/{ended.pid}/x",
    }
    for payload, holder in holders.items():
        redis.hset("unacked_holders", held[payload].delivery_tag, holder)
        forget(held[payload])
    monkeypatch.setattr(redis_claims.QoS, "restored_by", 0)
    came = [message for message, _ in drain(connect(), number=3)]
    assert sorted(message.payload for message in came) == ["dead", "reborn", "waits"]
    assert came[-1].payload == "waits"
    assert all(message.headers.get("redelivered") for message in came[:2])
    for message in (held["ours"], *came):
        message.ack()
    assert redis.hlen("unacked_holders") == redis.hlen("unacked") == 1


def test_a_server_that_has_just_started_waits_for_the_workers(connect, redis):
    connection = connect()
    publish(connection, 1)
    message = get(connection)
    forget(message)
    redis.zadd("unacked_index", {message.delivery_tag: 1})
    up = redis.info("server")["uptime_in_seconds"]
    overdue(connect(), up + 100)
    assert redis.llen("q") == 0
    overdue(connect(), up - 1)
    assert redis.llen("q") == 1


def test_the_delivery_limit_dead_letters(connect, redis):
    connection = connect(delivery_limit=3)
    publish(connection, {"n": 1}, headers={"id": "abc"})
    for lost in (True, False, True):
        message = get(connection)
        overdue(connection) if lost else message.requeue()
    assert get(connection) is None
    (entry,) = dead(redis)
    assert {name: entry[name] for name in ("queue", "reason", "count")} == {
        "queue": "q",
        "reason": "delivery_limit",
        "count": 3,
    }
    assert abs(entry["time"] - time.time()) < 60
    assert entry["message"]["properties"]["delivery_tag"] == message.delivery_tag
    assert entry["message"]["headers"]["id"] == "abc"
    assert redis.keys("unacked*") == []


def test_a_dead_letter_can_be_requeued_as_it_is(connect, redis):
    connection = connect()
    publish(connection, [1, {"ä": [], "e": {}}], headers={"empty": [], "none": None, "big": 2**60})
    before = get(connection)
    before.reject()
    (entry,) = dead(redis)
    assert (entry["reason"], entry["count"]) == ("rejected", 1)
    redis.lpush(entry["queue"], json.dumps(entry["message"]))
    after = get(connection)
    assert (after.payload, after.headers) == (before.payload, before.headers)


@pytest.mark.parametrize("text", ["no JSON", "[1]", "7", '{"properties": 1}', '{"body": "x"}'])
def test_what_is_no_message_is_dead_lettered_and_blocks_nobody(connect, redis, text):
    connection = connect()
    redis.lpush("q", text)
    publish(connection, 1)
    assert get(connection).payload == 1
    (entry,) = dead(redis)
    assert entry["reason"] == "unreadable"
    assert entry["message"] in (text, *([json.loads(text)] if text != "no JSON" else []))


def test_closing_gives_back_what_has_not_begun_uncounted(connect, redis):
    publish(connect(), 1, 2)
    for _ in range(5):
        connection = connect(delivery_limit=2)
        assert [get(connection).payload, get(connection).payload] == [1, 2]
        connection.close()
    assert (redis.llen("q"), dead(redis), redis.keys("unacked*")) == (2, [], [])


def test_closing_keeps_what_runs_until_it_ends(connect, redis, monkeypatch):
    """A worker that loses its connection acknowledges a task later that began before."""
    connection = connect()
    publish(connection, "runs", "waits")
    runs, waits = get(connection), get(connection)
    monkeypatch.setattr(state, "active_requests", [SimpleNamespace(message=runs)])
    connection.close()
    assert redis.hkeys("unacked") == [runs.delivery_tag]
    runs.ack()
    assert (redis.llen("q"), redis.keys("unacked*")) == (1, [])
    assert get(connect()).payload == waits.payload


def test_a_killed_worker_gives_back_nothing_that_it_kept(connect, redis, monkeypatch):
    """On a cold stop running tasks are given back too."""
    connection = connect()
    publish(connection, "runs")
    monkeypatch.setattr(state, "active_requests", [SimpleNamespace(message=get(connection))])
    monkeypatch.setattr(state, "should_terminate", 1)
    connection.close()
    assert redis.llen("q") == 1


# --- a server that is full, or away ----------------------------------------------------------------------------------


def test_a_full_server_refuses_a_publish_and_nothing_else(connect, redis):
    connection = connect(delivery_limit=1)
    publish(connection, *"abcd")
    redis.config_set("maxmemory", 1)
    with pytest.raises(ResponseError, match="maxmemory"):
        publish(connection, "e")
    a, b, c, d = (get(connection) for _ in range(4))
    assert redis.hlen("unacked") == 4
    connection.default_channel.qos.confirm()
    a.ack()
    b.reject()
    overdue(connection)
    assert [entry["reason"] for entry in dead(redis)] == ["rejected", "delivery_limit", "delivery_limit"]
    assert (c.payload, d.payload, redis.keys("unacked*")) == ("c", "d", [])


def test_what_ended_while_the_server_was_away_is_acknowledged_later(server, connect, redis):
    connection = connect(socket_connect_timeout=1)
    publish(connection, 1)
    message = get(connection)
    server.kill()
    try:
        message.ack()
    finally:
        server.start()
    assert redis.hlen("unacked") == 1
    connection.default_channel.qos.restore_visible()
    assert redis.keys("unacked*") == []


def test_what_was_held_when_the_server_went_away_comes_back_with_it(server, connect, redis):
    """At once, not only after the visibility timeout, and also when the connection is long forgotten."""
    connection = connect(socket_connect_timeout=1)
    publish(connection, 1, 2)
    assert [get(connection).payload, get(connection).payload] == [1, 2]
    server.kill()
    try:
        connection.close()
        del connection
    finally:
        server.start()
    again = connect()
    again.default_channel.qos.restore_visible()
    assert [get(again).payload, get(again).payload] == [1, 2]


def test_a_consumer_survives_a_restart_of_the_server(server, connect, redis):
    connection = connect()
    with connection.Consumer([bound("q")], callbacks=[lambda body, message: message.ack()]) as consumer:
        with contextlib.suppress(TimeoutError):
            connection.drain_events(timeout=0.1)
        server.kill()
        server.start()
        with pytest.raises(connection.connection_errors):
            while True:
                connection.drain_events(timeout=2)
        assert consumer
    again = connect()
    publish(again, 1)
    ((message, _),) = drain(again)
    assert message.payload == 1


# --- which transport an application gets ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("broker", "transport", "expected"),
    [("redis", "atomic", ATOMIC), ("redis", "stock", STOCK), ("rabbitmq", "atomic", STOCK)],
)
@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_an_app_that_knows_nothing_of_it(platform, monkeypatch, broker, transport, expected, scheme):
    for name in ("redis", "rediss"):
        monkeypatch.setitem(transports.TRANSPORT_ALIASES, name, STOCK)
    monkeypatch.setattr(transports, "_transport_cache", {})
    platform(broker=broker, redis_transport=transport)
    monkeypatch.setenv("CELERY_BROKER_URL", f"{scheme}://h/0")
    app = Celery("x", set_as_current=False)
    assert app.conf.task_acks_late
    found = app.connection().get_transport_cls()
    assert f"{found.__module__}:{found.__name__}" == expected


@pytest.mark.parametrize("transport", ["atomic", "stock"])
def test_celery_dead_requeues(connect, server, redis, platform, python, tmp_path, transport):
    platform(broker="redis", queue_arguments={}, settings={}, redis_transport=transport)

    def dead(*arguments):
        done = python(tmp_path, "-m", "celery_on_hosts.dead", *arguments, CELERY_BROKER_URL=server.url)
        return done.returncode, done.stdout + done.stderr

    connection = connect()
    for id in ("one", "two"):
        publish(connection, [id], queue="low", headers={"id": id, "task": "t"}, priority=3)
        get(connection, "low").reject()
    code, said = dead()
    assert (code, "2 of 2 dead-lettered" in said) == (0, True)
    assert [line.split()[:5] for line in said.splitlines()[1:3]] == [
        [id, "t", "low", "rejected", "1"] for id in ("one", "two")
    ]
    assert dead("retry", "two")[0] == 0
    back = get(connect(STOCK if transport == "stock" else ATOMIC), "low")
    assert (back.payload, back.headers, back.properties["priority"]) == (["two"], {"id": "two", "task": "t"}, 3)
    assert not back.delivery_info.get("redelivered")
    code, said = dead("drop", "--all", "--yes")
    assert (code, redis.llen("celery.dead")) == (0, 0)
    assert dead("show", "one")[0] == 1
    server.client.flushall()
    assert dead("--json") == (0, "0 of 0 dead-lettered\n")
