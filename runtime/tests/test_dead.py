"""Dead letters, with brokers of a few lines."""

from __future__ import annotations

import json
from base64 import b64encode
from collections import defaultdict
from contextlib import contextmanager
from datetime import datetime
from types import SimpleNamespace

import pytest
from amqp import Message
from amqp.exceptions import MessageNacked

from celery_on_hosts.dead import command as dead
from celery_on_hosts.dead import rabbitmq as on_rabbitmq
from celery_on_hosts.dead import redis as on_redis
from celery_on_hosts.platform_file import Platform

PLATFORM = {"broker": "rabbitmq", "queues": ["celery", "low"]}


def death(queue="celery", reason="rejected", time=datetime(2026, 11, 21, 12)):
    return {"queue": queue, "reason": reason, "time": time, "count": 1, "exchange": "", "routing-keys": [queue]}


def task(id="a", name="tasks.add", args=(2, 3), **headers):
    return {"task": name, "id": id, "argsrepr": "(2, …)", "kwargsrepr": "{}", **headers}, json.dumps([args, {}, {}])


class RabbitMQ:
    """A channel: queues of messages. A message that was delivered and not acknowledged is still in its queue."""

    def __init__(self):
        self.queues = {"celery.dead": [], "celery.unroutable": [], "celery": [], "low": []}
        self.events = defaultdict(set)
        self.got = {}
        self.consumers = []
        self.log = []
        self.sent_on = []
        self.refuses = False

    @property
    def default_channel(self):
        return self

    def keep(self, headers, body, place="celery.dead", exchange="celery.dead", routing_key="celery", **properties):
        message = Message(body, application_headers=headers, **properties)
        message.delivery_info = {"exchange": exchange, "routing_key": routing_key}
        self.queues[place].append(message)

    def queue_declare(self, queue, passive):
        return SimpleNamespace(message_count=len(self.queues[queue]))

    def basic_qos(self, size, count, whole_connection):
        self.window = count

    def basic_consume(self, queue, callback):
        self.consumers.append((queue, callback, []))
        return len(self.consumers) - 1

    def basic_cancel(self, consumer):
        self.consumers[consumer] = None

    def drain_events(self, timeout):
        for queue, callback, held in filter(None, self.consumers):
            waiting = [one for one in self.queues[queue] if one not in self.got.values()]
            if waiting and sum(one in self.queues[queue] for one in held) < self.window:
                tag = len(self.got) + 1
                self.got[tag] = waiting[0]
                held.append(waiting[0])
                waiting[0].delivery_info["delivery_tag"] = tag
                callback(waiting[0])
                return
        raise TimeoutError

    def basic_publish_confirm(self, message, exchange, routing_key, mandatory=False):
        if self.refuses:
            raise MessageNacked()
        if exchange:
            self.sent_on.append((exchange, routing_key, message))
            return
        assert mandatory
        self.log.append(("published", routing_key, message.properties["application_headers"]["id"]))
        if routing_key in self.queues:
            self.queues[routing_key].append(message)
        else:
            for handler in self.events["basic_return"]:
                handler(None, exchange, routing_key, message)

    def basic_ack(self, tag):
        gone = self.got[tag]
        self.log.append(("acked", gone.properties["application_headers"]["id"]))
        for queue in ("celery.dead", "celery.unroutable"):
            self.queues[queue] = [one for one in self.queues[queue] if one is not gone]


class Redis:
    """A channel and its client: one list."""

    def __init__(self, *elements):
        self.list = list(elements)
        self.consumers = []
        self.put = []
        self.pool = self
        self.global_keyprefix = ""

    @property
    def default_channel(self):
        return self

    def llen(self, key):
        assert key == "celery.dead"
        return len(self.list)

    def lrange(self, key, first, last):
        return self.list[first : last + 1]

    def lrem(self, key, count, element):
        assert (key, count) == ("celery.dead", 1)
        self.list.remove(element)
        return 1

    def _next_delivery_tag(self):
        return "new"

    def _put(self, queue, message):
        assert any(json.loads(one)["message"]["headers"] == message["headers"] for one in self.list if one != b"?")
        self.put.append((queue, message))


def element(id="a", **keys):
    headers, body = task(id)
    properties = {"body_encoding": "base64", "delivery_tag": "old", "correlation_id": id, "priority": 3}
    message = {"body": b64encode(body.encode()).decode(), "headers": headers, "properties": properties}
    entry = {"message": message, "queue": "low", "reason": "delivery_limit", "count": 3, "time": 1_700_000_000.5}
    return json.dumps(entry | keys).encode()


@pytest.fixture
def rabbitmq(monkeypatch):
    return use(monkeypatch, RabbitMQ(), lambda channel, _: on_rabbitmq.RabbitMQ(channel), PLATFORM)


@pytest.fixture
def redis(monkeypatch):
    monkeypatch.setattr("redis.Redis", lambda connection_pool: connection_pool)
    return use(monkeypatch, Redis(), on_redis.Redis, PLATFORM | {"broker": "redis"})


def use(monkeypatch, channel, kind, platform):
    """Let the command find this broker."""
    known = Platform.from_mapping(platform, "test")

    @contextmanager
    def opened(_):
        channel.got, channel.consumers = {}, []
        letters = kind(channel, known)
        yield letters
        letters.close()
        assert not any(channel.consumers)

    monkeypatch.setattr(dead, "dead_letters", opened)
    monkeypatch.setattr(Platform, "load", lambda: known)
    return channel


def ids(text):
    return [json.loads(line)["id"] for line in text.splitlines()]


def test_there_are_no_dead_letters(rabbitmq, capsys):
    assert dead.main([]) == dead.DONE
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "0 of 0 dead-lettered\n")


def test_the_list(rabbitmq, capsys):
    rabbitmq.keep(*task("a" * 36, **{"x-death": [death()]}))
    rabbitmq.keep({}, "lost?", "celery.unroutable", "celery", "nobody")
    assert dead.main(["list"]) == dead.DONE
    said = capsys.readouterr()
    header, first, second = said.out.splitlines()
    assert header.split() == list(dead.COLUMNS)
    assert first.split()[:4] == ["a" * 36, "tasks.add", "celery", "rejected"]
    assert first.endswith("[2, 3]")
    assert second.split()[1:6] == ["-", "nobody", "unroutable", "-", "-"]
    assert said.err == "2 of 2 dead-lettered\n"


def test_the_list_stops_at_its_limit_and_reads_no_further(rabbitmq, capsys):
    for id in "abcdef":
        rabbitmq.keep(*task(id, **{"x-death": [death()]}))
    assert dead.main(["--json", "--limit", "2"]) == dead.DONE
    said = capsys.readouterr()
    assert ids(said.out) == ["a", "b"]
    assert said.err == "2 of 6 dead-lettered\n"
    assert len(rabbitmq.got) == 2


def test_what_stays_does_not_block_what_comes_after(rabbitmq, monkeypatch, capsys):
    monkeypatch.setattr(on_rabbitmq, "WINDOW", 3)
    for number in range(20):
        rabbitmq.keep(*task(str(number), **{"x-death": [death("low" if number % 3 else "celery")]}))
    assert dead.main(["drop", "--all", "--yes", "--queue", "celery", "--json"]) == dead.DONE
    assert ids(capsys.readouterr().out) == [str(number) for number in range(0, 20, 3)]
    assert len(rabbitmq.queues["celery.dead"]) == 13
    assert dead.main(["retry", "19"]) == dead.DONE
    assert dead.main(["retry", "--all"]) == dead.DONE
    assert rabbitmq.queues["celery.dead"] == []


def test_what_somebody_else_holds_is_not_waited_for(rabbitmq, capsys):
    rabbitmq.keep(*task())
    rabbitmq.drain_events = lambda timeout: (_ for _ in ()).throw(TimeoutError)
    assert dead.main([]) == dead.DONE
    assert capsys.readouterr().err == "0 of 1 dead-lettered\n"


def test_a_delayed_task_came_from_its_queue_and_not_from_the_delay(rabbitmq):
    bits = ".".join("0" * 27 + "1")
    rabbitmq.keep(*task(**{"x-death": [death("celery_delayed_1", "expired"), death("low")]}))
    rabbitmq.keep(*task("b"), "celery.unroutable", "celery_delayed_delivery", f"{bits}.no.where")
    found = list(on_rabbitmq.RabbitMQ(rabbitmq).look())
    assert [(one.queue, one.reason) for one in found] == [("low", "rejected"), ("no.where", "unroutable")]


def test_what_was_unroutable_goes_on_where_it_was_and_nothing_else_does(rabbitmq):
    bits = ".".join("0" * 27 + "1")
    rabbitmq.keep(*task(), "celery.dead")
    rabbitmq.keep(
        *task("b", **{"x-death": [death("celery_delayed_3", "expired")]}), "celery.unroutable", "celery_delayed_2", bits
    )
    assert on_rabbitmq.unroutable(rabbitmq).publish_again() == 1
    ((exchange, routing_key, message),) = rabbitmq.sent_on
    assert (exchange, routing_key) == ("celery_delayed_2", bits)
    assert message.properties["application_headers"] == task("b")[0]
    assert [len(rabbitmq.queues[place]) for place in ("celery.dead", "celery.unroutable")] == [1, 0]


def test_what_the_broker_does_not_take_stays_unroutable(rabbitmq):
    rabbitmq.keep(*task(), "celery.unroutable", "celery", "nobody")
    rabbitmq.refuses = True
    with pytest.raises(MessageNacked):
        on_rabbitmq.unroutable(rabbitmq).publish_again()
    assert len(rabbitmq.queues["celery.unroutable"]) == 1


def test_what_is_requeued_begins_anew_and_is_in_its_queue_before_it_leaves(rabbitmq):
    history = {
        "x-death": [death("low")],
        "x-first-death-queue": "low",
        "x-last-death-reason": "",
        "x-delivery-count": 3,
    }
    rabbitmq.keep(*task(retries=1, **history), priority=5)
    assert dead.main(["retry", "a"]) == dead.DONE
    assert rabbitmq.log == [("published", "low", "a"), ("acked", "a")]
    (back,) = rabbitmq.queues["low"]
    assert back.properties["application_headers"] == task(retries=1)[0]
    assert (back.body, back.properties["priority"]) == (task()[1], 5)


@pytest.mark.parametrize("refuses", [True, False])
def test_what_no_queue_takes_stays(rabbitmq, capsys, refuses):
    rabbitmq.keep(*task(**{"x-death": [death("gone")]}))
    rabbitmq.keep(*task("b", **{"x-death": [death("low")]}))
    rabbitmq.refuses = refuses
    assert dead.main(["retry", "--all"]) == dead.LEFT
    said = capsys.readouterr().err
    assert ("accepts no message" if refuses else "a stays dead-lettered: there is no queue gone") in said
    assert len(rabbitmq.queues["celery.dead"]) == 1 + refuses
    assert dead.main(["retry", "a", "--to", "celery"]) == (dead.LEFT if refuses else dead.DONE)
    assert len(rabbitmq.queues["celery"]) == 1 - refuses


def test_what_comes_back_at_once_is_left_for_the_next_time(rabbitmq, capsys):
    rabbitmq.keep(*task(**{"x-death": [death()]}))
    rabbitmq.queues["celery"] = rabbitmq.queues["celery.dead"]  # as if its worker rejected the message again
    assert dead.main(["retry", "--all"]) == dead.DONE
    assert "1 requeued" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "dropped"),
    [
        (["b"], "b"),
        (["a", "b", "a"], "ab"),
        (["--all"], "abc"),
        (["--all", "--task", "tasks.mul"], "b"),
        (["--all", "--queue", "low"], "c"),
    ],
)
def test_those_that_are_meant(rabbitmq, capsys, arguments, dropped):
    rabbitmq.keep(*task("a", **{"x-death": [death()]}))
    rabbitmq.keep(*task("b", "tasks.mul", **{"x-death": [death()]}))
    rabbitmq.keep(*task("c", **{"x-death": [death("low")]}))
    assert dead.main(["drop", "--yes", "--json", *arguments]) == dead.DONE
    assert ids(capsys.readouterr().out) == list(dropped)
    assert len(rabbitmq.queues["celery.dead"]) == 3 - len(dropped)


def test_of_two_copies_one_is_meant(rabbitmq):
    for _ in range(2):
        rabbitmq.keep(*task(**{"x-death": [death()]}))
    assert dead.main(["drop", "--yes", "a"]) == dead.DONE
    assert len(rabbitmq.queues["celery.dead"]) == 1


@pytest.mark.parametrize("verb", [["show"], ["retry"], ["drop", "--yes"]])
def test_what_is_not_dead_lettered_is_said(rabbitmq, capsys, verb):
    assert dead.main([*verb, "x"]) == dead.LEFT
    assert "x is not dead-lettered" in capsys.readouterr().err
    assert dead.main([*verb, "--all"]) == dead.LEFT


@pytest.mark.parametrize(
    "arguments", [["retry"], ["drop", "--yes"], ["show", "a", "--all"], ["nonsense"], ["drop", "a"]]
)
def test_wrong_usage(rabbitmq, capsys, arguments):
    rabbitmq.keep(*task(**{"x-death": [death()]}))
    with pytest.raises(SystemExit) as end:
        dead.main(arguments)
    assert end.value.code == dead.USAGE
    assert rabbitmq.log == []


@pytest.mark.parametrize(("answer", "left"), [("y", 0), ("", 1), ("no", 1)])
def test_drop_asks(rabbitmq, monkeypatch, answer, left):
    rabbitmq.keep(*task(**{"x-death": [death()]}))
    monkeypatch.setattr(dead.sys, "stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("builtins.input", lambda question: answer)
    assert dead.main(["drop", "a"]) == (dead.LEFT if left else dead.DONE)
    assert len(rabbitmq.queues["celery.dead"]) == left


def test_show_tells_everything(rabbitmq, capsys):
    rabbitmq.keep(*task(**{"x-death": [death("low")], "lang": "py"}), correlation_id="a")
    assert dead.main(["show", "a"]) == dead.DONE
    said = capsys.readouterr().out
    for line in ("queue: low", "args: [2, 3]", "since: 2026-11-21T12:00:00+00:00", '  lang: "py"', "  x-death: [{"):
        assert f"\n{line}" in said


def test_arguments_that_are_no_json_are_shown_as_the_producer_did(rabbitmq, capsys):
    headers, _ = task(**{"x-death": [death()]})
    rabbitmq.keep(headers, b"\x80\x04")
    dead.main([])
    assert capsys.readouterr().out.splitlines()[1].endswith("(2, …)")


def test_redis_lists_what_the_transport_dead_lettered(redis, capsys):
    redis.list = [element("a"), b"?", element("b", reason="rejected")]
    assert dead.main([]) == dead.DONE
    said = capsys.readouterr()
    rows = [line.split() for line in said.out.splitlines()[1:]]
    assert [row[:5] for row in rows[:2]] == [
        ["a", "tasks.add", "low", "delivery_limit", "3"], ["b", "tasks.add", "low", "rejected", "3"]]  # fmt: skip
    assert rows[2][1:4] == ["-", "-", "unreadable"]
    assert said.err == "3 of 3 dead-lettered\n"


def test_redis_requeues_what_can_be(redis, capsys):
    redis.list = [element("a"), b"?", element("b", queue="gone"), element("c")]
    assert dead.main(["retry", "--all"]) == dead.LEFT
    assert [(queue, message["headers"]["id"]) for queue, message in redis.put] == [("low", "a"), ("low", "c")]
    properties = redis.put[0][1]["properties"]
    assert properties["delivery_tag"] == "new"
    assert properties["delivery_info"] == {"exchange": "", "routing_key": "low"}
    assert (properties["priority"], properties["correlation_id"]) == (3, "a")
    assert redis.list == [b"?", element("b", queue="gone")]


def test_redis_reads_in_chunks_and_misses_none(redis, monkeypatch, capsys):
    monkeypatch.setattr(on_redis, "CHUNK", 4)
    redis.list = [element(str(number), queue="low" if number % 3 else "celery") for number in range(30)]
    assert dead.main(["drop", "--all", "--yes", "--queue", "low", "--json"]) == dead.DONE
    assert ids(capsys.readouterr().out) == [str(number) for number in range(30) if number % 3]
    assert len(redis.list) == 10


def test_a_broker_out_of_reach(platform, monkeypatch, capsys):
    platform()
    monkeypatch.setenv("CELERY_BROKER_URL", "amqp://user:secret@127.0.0.1:1//")
    assert dead.main([]) == dead.OUT_OF_REACH
    said = capsys.readouterr().err
    assert "does not answer" in said
    assert "secret" not in said


def test_no_platform(monkeypatch, capsys):
    monkeypatch.delenv("CELERY_PLATFORM", raising=False)
    assert dead.main([]) == dead.OUT_OF_REACH
    assert "CELERY_PLATFORM is not set" in capsys.readouterr().err
