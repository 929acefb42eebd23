"""What `make show` prints of a host."""

from __future__ import annotations

import pytest
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.show import show, without_secrets

from tests.unit.rendering import GROUPS, SECRETS, Platform


@pytest.mark.parametrize("broker", ["rabbitmq", "redis"])
def test_a_host_is_shown_without_secrets(broker: str) -> None:
    described = Platform(celery_broker=broker, celery_app_environment={"TOKEN": "s3cret-token"}).described()
    text = show([described])
    assert not [name for name, secret in SECRETS.items() if secret in text or secret in str(without_secrets(described))]
    assert "s3cret-token" not in text
    for word in (
        "celerybeat",
        "127.0.0.1:5672" if broker == "rabbitmq" else "127.0.0.1:6379",
        "/etc/celery/environment",
    ):
        assert word in text
    assert "celery_" in text, "accounts are named"


def test_a_drained_host_says_so_and_reads_nothing() -> None:
    platform = Platform()
    platform.magic["ansible_facts"]["ansible_local"] = {"celery": {"drained": True}}
    text = show([platform.described()])
    assert "drained" in text
    assert "Reads queues" not in text


def test_each_host_has_its_part() -> None:
    groups = {name: ["a"] for name in GROUPS} | {"workers": ["b"]}
    first, second = (show([Platform(groups=groups, host=host).described()]) for host in "ab")
    assert "  rabbitmq" in first
    assert "rabbitmq" not in second
    assert "@192.0.2.1:5672" in second
