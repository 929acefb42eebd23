"""celery_result_backend and celery_beat_scheduler: what they may be, and what is said of anything else."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.preflight.check import check

from tests.unit.plugins.preflight.platforms import platform, words


@pytest.mark.parametrize(
    "value",
    ["auto", "platform", "application", "disabled", "django-db", "db+postgresql://u:p%40@h/d", "shop.stores:Store"],
)
def test_a_result_store(value: str) -> None:
    assert check(platform(celery_result_backend=value)) == []


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            "aplication",
            ["celery_result_backend", "'aplication'", "auto, platform, application", "Did you mean application?"],
        ),
        ("", ["found:   ''", "django-db"]),
        (None, ["found:   NoneType"]),
        ("redis://u:secret word@h/0", ["spaces or quotes", "%20"]),
    ],
)
def test_what_is_no_result_store(value: Any, said: list[str]) -> None:
    text = words(platform(celery_result_backend=value))
    for word in said:
        assert word in text
    assert "secret" not in text


@pytest.mark.parametrize(
    "value", ["", "django", "django_celery_beat.schedulers:DatabaseScheduler", "redbeat.RedBeatScheduler"]
)
def test_a_scheduler(value: str) -> None:
    assert check(platform(celery_beat_scheduler=value)) == []


@pytest.mark.parametrize("value", [None, "--scheduler x", "a:b:c", "%(x)s"])
def test_what_is_no_scheduler(value: Any) -> None:
    text = words(platform(celery_beat_scheduler=value))
    assert "celery_beat_scheduler" in text
    assert "such as django_celery_beat.schedulers:DatabaseScheduler" in text
