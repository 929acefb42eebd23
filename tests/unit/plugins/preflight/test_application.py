"""The application, its folder and its lock: what is wrong is refused in the right words."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.preflight.check import check

from tests.unit.plugins.preflight.platforms import platform, words


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"celery_app": ""}, ["celery_app", "what `celery -A` takes"]),
        ({"celery_app": "my-app"}, ["'my-app'"]),
        ({"celery_app_environment": True}, ["celery_app_environment", "True", "a mapping of names to values"]),
        ({"celery_app_environment": {"DEBUG": False}}, ["celery_app_environment.DEBUG", "in quotes"]),
        ({"celery_app_environment": {"A-B": "x"}}, ["celery_app_environment.A-B", "letters, digits"]),
        ({"celery_app_environment": {"KEY": "a\0b"}}, ["celery_app_environment.KEY", "a NUL", "base64"]),
        ({"celery_app_environment": {"CELERY_LOADER": "x"}}, ["set by the platform"]),
        ({"celery_app_environment": {"DATABASE_URL": "x"}}, ["DATABASE_URL", "celery_database_enabled: false"]),
        ({"celery_app_release_commands": "migrate"}, ["celery_app_release_commands", "a list of commands"]),
        ({"celery_app_source": "/nowhere"}, []),
        ({"celery_app_release_commands": ["flask 'x"]}, ["flask 'x", "No closing quotation"]),
        ({"celery_app_release_commands": ["A=1 flask x"]}, ["begins with a variable", "/usr/bin/env A=1 flask x"]),
        ({"celery_app_release_commands": ["a && b"]}, ["with && for a shell", "/bin/sh -c 'a && b'"]),
        ({"celery_app_include": ["../x"]}, ["celery_app_include", "below celery_app_source", "celery_files"]),
        ({"celery_app_include": "dist/"}, ["celery_app_include", "a list of files"]),
        ({"celery_app_extras": "production"}, ["celery_app_extras", "such as [production]"]),
        ({"celery_app_extras": ["--all-extras"]}, ["celery_app_extras", "'--all-extras'"]),
        ({"celery_app_lock": ["x"]}, ["celery_app_lock", "relative to celery_app_source"]),
    ],
)
def test_application(changes: dict[str, Any], expected: list[str]) -> None:
    text = words(platform(**changes))
    for word in expected:
        assert word in text
    if expected:
        assert "the inventory has 1 problem." in text or "celery_time_limit" in text


def test_an_application_may_bring_its_own_database() -> None:
    state = platform(celery_app_environment={"DATABASE_URL": "postgres://db.example.org/shop"})
    del state["groups"]["database"]
    assert check(state) == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"exists": False}, "does not exist"),
        ({"exists": True, "error": "No lock file in /app", "advice": "uv lock"}, "uv lock"),
        ({"exists": True, "packages": ["django"]}, "lacks celery"),
        *(
            ({"exists": True, "packages": None, "lock": "/app/uv.lock", "celery": old}, f"{words} in /app/uv.lock\n")
            for old, words in (
                ("5.2.7", "celery 5.2.7"),
                ("4.4", "celery 4.4"),
                ("<5.3,>=5", "celery<5.3,>=5"),
                ("~=5.2.1", "celery~=5.2.1"),
            )
        ),
        ({"exists": True, "packages": None, "lock": "x", "celery": "5.2.7"}, "allowed: celery 5.3 or newer (tested: 5"),
    ],
)
def test_sources(source: dict[str, Any], expected: str) -> None:
    state = platform()
    state["sources"]["/app"] = source
    assert expected in words(state)


def test_a_lock_that_is_named_is_blamed() -> None:
    state = platform(celery_app_lock="prod.txt")
    state["sources"]["/app"] = {"exists": True, "error": "there is no file /app/prod.txt", "advice": ""}
    text = words(state)
    assert text.splitlines()[1] == "1. celery_app_lock"
    assert "celery_app_source (" not in text


@pytest.mark.parametrize("celery", ["5.3.0", "5.7.1", "6.0", "", ">=5.2", "<6", "~=5.2", "==5.*"])
def test_a_celery_that_is_or_may_be_new_enough(celery: str) -> None:
    state = platform()
    state["sources"]["/app"] |= {"lock": "/app/requirements.txt", "celery": celery}
    assert check(state) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"DB": "PGHOTS"}, "celery_app_environment_from.DB\n   found:   'PGHOTS'"),
        ({"DB": "PGPASSFILE"}, "one of CELERY_BROKER_URL, CELERY_DATA_DIR, CELERY_RESULT_BACKEND, DATABASE_URL"),
        ({"REDIS_URL": "CACHE_URL"}, "Set celery_cache_enabled: true."),
        ({"ALLOWED_HOSTS": "PGHOST"}, "found:   set by celery_app_environment too"),
        ({"DATABASE_URL": "PGHOST"}, "found:   set by the platform too"),
        ({"CELERY_LOADER": "PGHOST"}, "set by the platform alone"),
        ({"1": "PGHOST"}, "letters, digits and _, no digit first"),
        (["PGHOST"], "a mapping of names to values"),
    ],
)
def test_own_names_for_the_platforms_variables(changes: Any, expected: str) -> None:
    assert expected in words(platform(celery_app_environment_from=changes))


def test_own_names_by_what_there_is() -> None:
    wanted = {"DB": "PGHOST", "URL": "DATABASE_URL"}
    assert "or set celery_database_url" in words(
        platform(celery_app_environment_from=wanted, celery_database_enabled=False)
    )
    given = "postgresql://db.example.org/shop"
    text = words(platform(celery_app_environment_from={"SECRET": "PGPASSWORD"}, celery_database_url=given))
    assert "celery_app_environment_from.SECRET" in text, "this address has no password"
