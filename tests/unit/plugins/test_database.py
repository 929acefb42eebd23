"""How an application finds its database, and which packages the database's extensions need."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.celery_on_hosts.platform.plugins.filter.platform import FilterModule
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.database import (
    client_environment,
    extension_packages,
)

from tests.unit.rendering import GROUPS, SECRETS, Platform


def environment(platform: Platform) -> dict[str, str]:
    lines = platform.text("celery", "/etc/celery/environment").splitlines()
    return dict(line.replace("'", "").split("=", 1) for line in lines)


def test_clients_of_postgresql_find_the_database_without_its_address() -> None:
    found = environment(Platform(celery_database_password="p@s/s"))  # noqa: S106
    login = found["PGUSER"]
    assert found["DATABASE_URL"] == f"postgresql://{login}:p%40s%2Fs@127.0.0.1:5432/celery"
    assert (found["PGHOST"], found["PGPORT"], found["PGDATABASE"]) == ("127.0.0.1", "5432", "celery")
    assert found["PGPASSWORD"] == "p@s/s", "as it is: only an address is encoded"
    groups = {name: ["a"] for name in GROUPS if name != "database"}
    assert not [name for name in environment(Platform(groups=groups)) if name.startswith("PG")]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "postgresql+psycopg://u%40:p%2F@db.example.org/shop?sslmode=verify-full",
            {"PGHOST": "db.example.org", "PGPORT": "5432", "PGUSER": "u@", "PGPASSWORD": "p/", "PGDATABASE": "shop"}
            | {"PGSSLMODE": "verify-full"},
        ),
        ("postgres://db:6432/x", {"PGHOST": "db", "PGPORT": "6432", "PGDATABASE": "x"}),
        ("mysql://u:p@db/x", {}),
        ("", {}),
    ],
)
def test_client_environment(url: str, expected: dict[str, str]) -> None:
    assert client_environment(url) == expected


def test_the_address_has_the_scheme_that_the_application_wants() -> None:
    found = environment(Platform(celery_database_scheme="postgresql+psycopg"))
    assert found["DATABASE_URL"].startswith("postgresql+psycopg://celery_")
    assert found["PGHOST"] == "127.0.0.1"


def test_an_inventory_can_refer_to_the_login() -> None:
    login = FilterModule().filters()["database_login"](
        SECRETS["celery_database_password"], SECRETS["celery_secret_key"]
    )
    platform = Platform(celery_app_environment={"LOGIN": login})
    assert (
        environment(platform)["LOGIN"] == environment(platform)["PGUSER"] == platform.described()["postgresql"]["login"]
    )


@pytest.mark.parametrize(("debian", "version"), [(12, "15"), (13, "17")])
def test_extensions_bring_their_packages(debian: int, version: str) -> None:
    extensions = ["pg_trgm", "postgis", "postgis_topology", "hll"]
    assert extension_packages(extensions, version) == [f"postgresql-{version}-hll", f"postgresql-{version}-postgis-3"]
    platform = Platform(debian=debian, celery_database_extensions=extensions)
    described: dict[str, Any] = platform.described()
    assert f"postgresql-{version}-postgis-3" in described["packages"]
    assert described["postgresql"]["extensions"] == extensions
    groups = {name: ["a"] for name in GROUPS} | {"database": ["b"]}
    other = Platform(debian=debian, groups=groups, host="a", celery_database_extensions=extensions)
    assert not [name for name in other.described()["packages"] if "postgis" in name]
