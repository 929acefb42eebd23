"""What every process of the application reads when it starts."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.settings import (
    celery_settings,
    environment,
    settings_digest,
    settings_files,
    shared_description,
)

VARIABLES: dict[str, Any] = {
    **{"celery_app": "proj", "celery_broker": "rabbitmq", "celery_redis_transport": "atomic"},
    **{"celery_time_limit": 300, "celery_soft_time_limit": 240, "celery_prefetch_multiplier": 2},
    **{"celery_redis_visibility_timeout": 3600, "celery_delivery_limit": 20, "celery_queues": ["celery"]},
    **{
        "celery_result_backend": "auto",
        "celery_message_signing": False,
        "celery_secret_key": "key",
        "celery_app_environment": {"DEBUG": "1"},
    },
}

SHARED = shared_description(VARIABLES)


def test_rabbitmq_confirms_what_it_takes() -> None:
    settings = celery_settings(VARIABLES)
    assert settings["broker_transport_options"]["confirm_publish"] is True
    assert settings["worker_prefetch_multiplier"] == 2
    assert (settings["task_time_limit"], settings["task_soft_time_limit"]) == (300, 240)


def test_redis_gives_back_what_a_worker_held() -> None:
    atomic = celery_settings(VARIABLES | {"celery_broker": "redis"})
    assert atomic["worker_prefetch_multiplier"] == 1
    assert atomic["broker_transport_options"]["delivery_limit"] == 20
    assert atomic["broker_transport_options"]["visibility_timeout"] == 30
    stock = celery_settings(VARIABLES | {"celery_broker": "redis", "celery_redis_transport": "stock"})
    assert stock["broker_transport_options"]["visibility_timeout"] == 3600
    assert "delivery_limit" not in stock["broker_transport_options"]
    assert (atomic["task_retry_on_worker_lost"], stock["task_retry_on_worker_lost"]) == (False, True)


@pytest.mark.parametrize(("broker", "arguments"), [("rabbitmq", {"x-queue-type": "quorum"}), ("redis", {})])
def test_queues_are_quorum_queues_where_there_are_such(broker: str, arguments: dict[str, str]) -> None:
    assert shared_description(VARIABLES | {"celery_broker": broker}).queue_arguments == arguments


def test_the_applications_own_environment_wins() -> None:
    own = {"celery_app_environment": {"CELERY_RESULT_BACKEND": "rpc://"}}
    assert environment(VARIABLES | own, "amqp://b", "redis://r", "")["CELERY_RESULT_BACKEND"] == "rpc://"
    found = environment(VARIABLES, "amqp://b", "redis://r", "")
    assert (found["SECRET_KEY"], found["DEBUG"]) == ("key", "1")
    assert "DATABASE_URL" not in found
    assert environment(VARIABLES, "amqp://b", "redis://r", "postgresql://d")["DATABASE_URL"] == "postgresql://d"


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", {"CELERY_RESULT_BACKEND": "redis://r", "CELERY_PLATFORM_RESULTS": "redis://r"}),
        ("platform", {"CELERY_RESULT_BACKEND": "redis://r"}),
        ("application", {}),
        ("disabled", {"CELERY_RESULT_BACKEND": "disabled"}),
    ],
)
def test_who_decides_where_results_are_kept(choice: str, expected: dict[str, str]) -> None:
    found = environment(VARIABLES | {"celery_result_backend": choice}, "amqp://b", "redis://r", "")
    assert {name: value for name, value in found.items() if "RESULT" in name} == expected


def test_keys_that_sign_messages_are_removed_where_nothing_is_signed() -> None:
    def states(signing: tuple[str, str] | None) -> dict[str, str]:
        files = settings_files("/etc/x", environment={}, description=SHARED, worker_environments={}, signing=signing)
        return {entry["dest"]: entry["state"] for entry in files if "signing" in entry["dest"]}

    assert set(states(None).values()) == {"absent"}
    assert set(states(("key", "certificate")).values()) == {"file"}


@pytest.mark.parametrize("change", ["environment", "certificate", "settings"])
def test_programs_restart_when_what_they_read_changes(change: str) -> None:
    now = settings_digest({"A": "1"}, "certificate", SHARED)
    assert now == settings_digest({"A": "1"}, "certificate", shared_description(VARIABLES))
    other = {
        "environment": settings_digest({"A": "2"}, "certificate", SHARED),
        "certificate": settings_digest({"A": "1"}, "another", SHARED),
        "settings": settings_digest({"A": "1"}, "certificate", shared_description(VARIABLES | {"celery_app": "other"})),
    }
    assert other[change] != now
