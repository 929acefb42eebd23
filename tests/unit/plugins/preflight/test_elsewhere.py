"""Addresses of services elsewhere: what is wrong is refused in the right words, and no message shows a password."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.preflight.check import check

from tests.unit.plugins.preflight.platforms import platform, words

BROKER = "amqps://app:hidd%40en@mq.example.org:5671/shop"
NEW = ("broker_url", "broker_api_url", "result_url", "database_url", "services_ca")
CA = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"
GROUP = {"celery_broker_url": "brokers", "celery_result_url": "results", "celery_database_url": "database"}


def somewhere(**changes: Any) -> dict[str, Any]:
    """A platform with a service elsewhere for each address that is set."""
    state = platform(**changes)
    state["known"] += [f"celery_{name}" for name in NEW]
    for name in changes.keys() & GROUP.keys():
        state["groups"].pop(GROUP[name])
    return state


@pytest.mark.parametrize(
    "changes",
    [
        {"celery_broker_url": BROKER, "celery_services_ca": CA, "celery_broker_api_url": "https://mq.example.org/api/"},
        {"celery_broker_url": "amqp://mq"},
        {"celery_broker_url": "rediss://:p%2F@r.example.org:6380/3?ssl_cert_reqs=none", "celery_broker": "redis"},
        {"celery_result_url": "redis://r.example.org"},
        {"celery_database_url": "postgresql+psycopg://u:p%23@db.example.org/shop?sslmode=verify-full"},
        {"celery_database_url": "mysql://u:p@db.example.org/shop"},
    ],
)
def test_good(changes: dict[str, Any]) -> None:
    assert check(somewhere(**changes)) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"celery_broker_url": "sqs://key:hidden@"},
            ["celery_broker_url", "sqs://", "amqp://, amqps://", "mq.example.org"],
        ),
        ({"celery_broker_url": "mq.example.org:5672"}, ["celery_broker_url", "amqps://user:password@"]),
        ({"celery_broker_url": 5672}, ["celery_broker_url", "a value of type int"]),
        (
            {"celery_broker_url": "amqp://app:hid/den@mq/shop"},
            ["amqp://…, an address that cannot be read", "urlencode"],
        ),
        ({"celery_broker_url": "amqp://app:123/hidden@mq/shop"}, ["amqp://…, with a mark that is not encoded"]),
        ({"celery_broker_url": "amqp://app:hid@den@mq/shop"}, ["amqp://mq/shop, with a mark that is not encoded"]),
        ({"celery_broker_url": "amqp://app:hid%zen@mq/shop"}, ["a mark that is not encoded"]),
        ({"celery_broker_url": "amqp://app:hidden@mq/a;amqp://b"}, ["or a second address"]),
        ({"celery_broker_url": f"{BROKER}?cacertfile=/ca"}, ["with options after ?", "celery_services_ca"]),
        (
            {"celery_broker_url": BROKER, "celery_broker": "redis"},
            ["redis beside a celery_broker_url", "amqps://", "Remove"],
        ),
        ({"celery_result_url": "db+postgresql://app:hidden@db/x"}, ["db+postgresql://db/x", "result_backend"]),
        ({"celery_result_url": "redis://r.example.org/results"}, ["a database's number"]),
        ({"celery_result_url": "redis://r?ssl_cert_reqs=none"}, ["Write rediss:// in place of redis://"]),
        ({"celery_database_url": "postgresql:///shop"}, ["postgresql://user:password@db.example.org"]),
        ({"celery_broker_api_url": "https://app:hidden@mq/api/"}, ["with an account", "logs in with"]),
        ({"celery_services_ca": "/etc/ssl/ca.pem"}, ["celery_services_ca", "no certificate", "lookup('file'"]),
        (
            {"celery_database_url": "postgresql://db/x", "celery_app_environment": {"DATABASE_URL": "x"}},
            ["celery_app_environment.DATABASE_URL", "set beside celery_database_url"],
        ),
    ],
)
def test_an_address_is_refused(changes: dict[str, Any], expected: list[str]) -> None:
    text = words(somewhere(**changes))
    assert "the inventory has 1 problem." in text
    for word in expected:
        assert word in text
    assert "hid" not in text


@pytest.mark.parametrize("name", GROUP)
def test_an_address_and_its_group_are_too_much(name: str) -> None:
    url = "redis://r.example.org" if name == "celery_result_url" else BROKER
    state = somewhere(**{name: url})
    state["groups"][GROUP[name]] = ["a"]
    text = words(state)
    assert f"an address, and a in the group {GROUP[name]}" in text
    assert f"Leave the group {GROUP[name]} out" in text


def test_without_a_group_an_address_is_named() -> None:
    state = somewhere()
    del state["groups"]["brokers"], state["groups"]["results"]
    text = words(state)
    assert "or set celery_broker_url to a broker that exists" in text
    assert "or set celery_result_url to a Redis that exists" in text


def test_all_hosts_use_the_same_service() -> None:
    state = platform(("a", "b"))
    state["known"] += [f"celery_{name}" for name in NEW]
    del state["groups"]["database"]
    for host in "ab":
        state["hosts"][host]["vars"]["celery_database_url"] = f"postgresql://u:hidden@{host}/x"
    assert "celery_database_url\n   found:   more than one address" in words(state)
    assert "hidden" not in words(state)
