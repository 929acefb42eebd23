"""The database's variables: what is wrong is refused in the right words."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.preflight.check import check

from tests.unit.plugins.preflight.platforms import platform, words

NEW = ("celery_database_scheme", "celery_database_extensions", "celery_database_login", "celery_database_url")


def with_database(**changes: Any) -> dict[str, Any]:
    state = platform(**changes)
    state["known"] += NEW
    return state


def test_good() -> None:
    assert check(with_database(celery_database_scheme="postgresql+psycopg")) == []
    assert check(with_database(celery_database_extensions=["uuid-ossp", "postgis", "vector"])) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"celery_database_scheme": "postgresql://"}, ["celery_database_scheme", "Leave out ://"]),
        ({"celery_database_extensions": "hstore"}, ["celery_database_extensions", "a list of names"]),
        ({"celery_database_extensions": ["pg_trigram"]}, ["pg_trigram", "extensions of Debian's packages"]),
        ({"celery_database_extensions": ["htsore"]}, ["Did you mean hstore?"]),
        ({"celery_database_extensions": ["timescaledb"]}, ["timescaledb", "CREATE EXTENSION by hand"]),
        ({"celery_database_login": "shop"}, ["celery_database_login", "Refer to it"]),
    ],
)
def test_values(changes: dict[str, Any], expected: list[str]) -> None:
    text = words(with_database(**changes))
    assert "the inventory has 1 problem." in text
    for word in expected:
        assert word in text


def test_debian_12_lacks_some_extensions() -> None:
    state = with_database(celery_database_extensions=["vector"])
    facts = state["hosts"]["a"]["facts"] = {"distribution": "Debian", "distribution_major_version": "12"}
    assert "vector, which Debian 12 does not have" in words(state)
    facts["distribution_major_version"] = "13"
    assert check(state) == []


def test_a_database_elsewhere_is_its_owners() -> None:
    state = with_database(celery_database_url="postgres://u:p@db/x", celery_database_extensions=["hstore"])
    del state["groups"]["database"]
    assert "celery_database_extensions\n   found:   set beside celery_database_url" in words(state)
