"""Passwords of any characters: what a service cannot take is refused, and no message shows a password."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.accounts import SERVICE_SECRETS
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.preflight.check import check
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.preflight.passwords import check_passwords

from tests.unit.plugins.preflight.platforms import platform, words

AWKWARD = "p@s:s/w#r%25d,'\"`$(id) ü {{ x }} \\"


def test_services_take_any_printable_character() -> None:
    passwords = {name: AWKWARD for name in SERVICE_SECRETS}
    assert list(check_passwords(passwords | {"celery_database_enabled": True, "celery_flower_enabled": True})) == []


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("celery_redis_password", "hidden\n", ["celery_redis_password", "a line end at its end", "printf %s"]),
        ("celery_rabbitmq_password", "hid\0den", ["celery_rabbitmq_password", "found:   a NUL\n"]),
        ("celery_rabbitmq_operator_password", "hid\xa0den", ["U+00A0 (no-break space)"]),
        ("celery_database_password", "md5" + "0a" * 16, ["celery_database_password", "the digest of a password"]),
        ("celery_database_password", "SCRAM-SHA-256$hidden", ["the digest of a password"]),
        ("celery_database_password", "hidden שלום", ["from right to left"]),
        ("celery_flower_password", "hidden,word", ["celery_flower_password", "a comma, which separates accounts"]),
        ("celery_flower_password", "hidden ö", ["U+00F6 (latin small letter o with diaeresis)", "answer 500"]),
        ("celery_flower_password", 12345, ["a value of type int", "in quotes"]),
    ],
)
def test_what_a_service_cannot_take_is_refused(name: str, value: Any, expected: list[str]) -> None:
    changes: dict[str, Any] = {name: value}
    state = platform(**changes)
    state["known"].append(name)
    text = words(state)
    assert "the inventory has 1 problem." in text
    for word in expected:
        assert word in text
    assert "hid" not in text, "a message shows no password"
    assert "12345" not in text


def test_a_password_of_what_does_not_run_is_not_judged() -> None:
    passwords: dict[str, Any] = {"celery_flower_password": "a,ö", "celery_database_password": "md5" + "0a" * 16}
    state = platform(**passwords)
    state["known"].append("celery_database_password")
    for group in ("monitoring", "database"):
        state["groups"][group] = []
    assert check(state) == []
