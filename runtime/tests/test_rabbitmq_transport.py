"""Every publish is confirmed in time, or fails."""

from __future__ import annotations

import amqp
import pytest
from amqp.exceptions import RecoverableConnectionError
from celery import Celery
from kombu.exceptions import OperationalError
from kombu.transport import pyamqp

from celery_on_hosts import rabbitmq_transport as transport


class Connection:
    confirm_timeout = 7.0
    collected = False
    blocked = False

    def collect(self):
        self.collected = True


def late(self, *args, **kwargs):
    raise TimeoutError


@pytest.fixture
def channel(monkeypatch):
    channel = transport.Channel.__new__(transport.Channel)
    channel.connection = Connection()
    return channel


def test_confirms_have_a_timeout(channel, monkeypatch):
    seen = []
    monkeypatch.setattr(pyamqp.Channel, "basic_publish_confirm", lambda self, *a, **k: seen.append(k))
    channel.basic_publish_confirm("message", confirm_timeout=None)
    channel.basic_publish_confirm("message", confirm_timeout=2)
    assert [options["confirm_timeout"] for options in seen] == [7.0, 2]


def test_a_late_confirm_costs_the_connection(channel, monkeypatch):
    monkeypatch.setattr(pyamqp.Channel, "basic_publish_confirm", late)
    with pytest.raises(RecoverableConnectionError, match="did not confirm"):
        channel.basic_publish_confirm("message")
    assert channel.connection.collected


def test_a_lost_connection_is_one_that_can_be_made_again(channel):
    """Also when the loss was noticed between two messages: with another error Celery would not try again."""
    channel.connection, channel._confirm_selected, channel.channel_id = None, True, 1
    with pytest.raises(RecoverableConnectionError, match="connection closed"):
        channel.basic_publish_confirm(amqp.Message("x"), exchange="e", routing_key="k")


def test_a_blocked_producer_hears_of_it_and_sends_no_copy(channel, monkeypatch):
    monkeypatch.setattr(pyamqp.Channel, "basic_publish_confirm", late)
    channel.connection.blocked = True
    with pytest.raises(OperationalError, match="short of memory or disk") as caught:
        channel.basic_publish_confirm("message")
    assert not isinstance(caught.value, pyamqp.Transport.recoverable_connection_errors), "Celery would try it again"
    assert channel.connection.collected


def test_a_task_waits_until_the_broker_takes_its_message(channel, monkeypatch):
    answers = [TimeoutError(), TimeoutError(), None]

    def wait(methods, callback, timeout):
        if answer := answers.pop(0):
            raise answer
        return "confirmed"

    monkeypatch.setattr(transport, "patient", True)
    monkeypatch.setattr(pyamqp.Channel, "basic_publish_confirm", late)
    monkeypatch.setattr(channel, "wait", wait, raising=False)
    channel.connection.blocked = True
    assert channel.basic_publish_confirm("message") == "confirmed"
    assert (answers, channel.connection.collected) == ([], False)


def test_a_connection_knows_that_it_is_blocked():
    connection = transport.Connection()
    connection._on_blocked()
    assert connection.blocked
    connection._on_unblocked()
    assert not connection.blocked


@pytest.mark.parametrize(("options", "confirms"), [({"a": 1}, True), ({"confirm_publish": False}, False)])
@pytest.mark.parametrize("url", ["amqp://h//", "pyamqp://h//", "amqps://h//"])
def test_rabbitmq_urls_confirm(platform, monkeypatch, options, confirms, url):
    platform()
    monkeypatch.setenv("CELERY_BROKER_URL", url)
    app = Celery("x", set_as_current=False)
    assert app.conf.task_acks_late
    app.conf.broker_transport_options = options
    connection = app.connection()
    monkeypatch.setattr(pyamqp.Transport, "establish_connection", lambda self: None)
    connection.transport.establish_connection()
    assert isinstance(connection.transport, transport.Transport)
    assert connection.transport_options["confirm_publish"] is confirms
