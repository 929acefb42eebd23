"""Services that the platform does not run: what each consumer of an address gets, from the roles' own files."""

from __future__ import annotations

import ast
import json
from typing import Any

import pytest

from tests.unit.rendering import GROUPS, Platform

OURS = [name for name in GROUPS if name not in ("brokers", "results", "database")]
CA = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"
RABBITMQ = {
    "celery_broker_url": "amqps://app:s3cret%40@mq.example.org:5671/shop",
    "celery_result_url": "rediss://:s3cret%2F@redis.example.org:6380/1",
    "celery_database_url": "postgresql://app:s3cret%23@db.example.org/shop?sslmode=verify-full",
    "celery_services_ca": CA,
}
REDIS = RABBITMQ | {"celery_broker_url": "rediss://:s3cret@redis.example.org:6380/0"}


def host(**variables: Any) -> Platform:
    """A host that runs everything but the services."""
    return Platform(groups={name: ["a"] for name in OURS}, **variables)


def description(platform: Platform) -> dict[str, Any]:
    return dict(json.loads(platform.text("celery", "/etc/celery/platform.json")))


def flower_settings(platform: Platform) -> dict[str, Any]:
    module = ast.parse(platform.text("flower", "/etc/flower/celeryconfig.py"))
    return {line.targets[0].id: ast.literal_eval(line.value) for line in module.body}  # type: ignore[attr-defined]


def test_the_host_runs_no_service() -> None:
    described = host(**RABBITMQ).described()
    assert described["services"] == ["nginx", "supervisor", "celery", "flower"]
    assert described["hosts"]["services"] == []
    assert described["programs"]["after"] == [], "supervisord waits for the network alone"


def test_every_process_finds_the_addresses() -> None:
    platform = host(**RABBITMQ)
    environment = platform.text("celery", "/etc/celery/environment")
    assert f"CELERY_BROKER_URL='{RABBITMQ['celery_broker_url']}'\n" in environment
    assert f"CELERY_RESULT_BACKEND='{RABBITMQ['celery_result_url']}'\n" in environment
    assert f"DATABASE_URL='{RABBITMQ['celery_database_url']}'\n" in environment
    assert "PGSSLROOTCERT='/etc/celery/services-ca.crt'\n" in environment
    assert platform.text("celery", "/etc/celery/services-ca.crt") == CA
    assert f"CELERY_BROKER_URL='{RABBITMQ['celery_broker_url']}'\n" in platform.text(
        "flower", "/etc/flower/environment"
    )


@pytest.mark.parametrize(("variables", "broker"), [(RABBITMQ, "rabbitmq"), (REDIS, "redis")])
def test_the_scheme_says_which_broker_it_is(variables: dict[str, Any], broker: str) -> None:
    found = description(host(**variables))
    assert found["broker"] == broker
    assert found["managed_broker"] is False
    assert description(Platform())["managed_broker"] is True


def test_certificates_are_checked() -> None:
    ca = "/etc/celery/services-ca.crt"
    redis = {"ssl_cert_reqs": "required", "ssl_check_hostname": True, "ssl_ca_certs": ca}
    settings = description(host(**RABBITMQ))["settings"]
    assert settings["broker_use_ssl"] == {"cert_reqs": 2, "server_hostname": "mq.example.org", "ca_certs": ca}
    assert settings["redis_backend_use_ssl"] == redis
    assert description(host(**REDIS))["settings"]["broker_use_ssl"] == redis
    flower = {"cert_reqs": 2, "server_hostname": "mq.example.org", "ca_certs": "/etc/flower/services-ca.crt"}
    assert flower_settings(host(**RABBITMQ))["broker_use_ssl"] == flower
    assert host(**RABBITMQ).text("flower", "/etc/flower/services-ca.crt") == CA


def test_without_tls_there_are_no_options() -> None:
    plain = {"celery_broker_url": "redis://r.example.org/0", "celery_result_url": "rediss://r/1?ssl_cert_reqs=none"}
    assert not {"broker_use_ssl", "redis_backend_use_ssl"} & description(host(**plain))["settings"].keys()
    assert "broker_use_ssl" not in flower_settings(host(**plain))
    assert not {"broker_use_ssl", "redis_backend_use_ssl"} & description(Platform())["settings"].keys()


def test_settings_on_trial_name_the_certificates_beside_them() -> None:
    files = {entry["dest"]: entry for entry in host(**RABBITMQ).described()["celery"]["candidate_files"]}
    candidate = json.loads(files["/etc/celery/next/platform.json"]["content"])
    assert candidate["settings"]["broker_use_ssl"]["ca_certs"] == "/etc/celery/next/services-ca.crt"
    assert files["/etc/celery/next/services-ca.crt"]["content"] == CA


def test_queues_of_a_rabbitmq_elsewhere_need_no_policy() -> None:
    assert description(host(**RABBITMQ))["queue_arguments"] == {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": "celery.dead",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
        "x-delivery-limit": 20,
        "x-consumer-timeout": 3_600_000,
    }
    assert description(host(**REDIS))["queue_arguments"] == {}
    assert description(Platform())["queue_arguments"] == {"x-queue-type": "quorum"}


def test_programs_restart_when_an_address_or_an_authority_changes() -> None:
    def digests(**changes: str) -> tuple[str, str]:
        platform = host(**RABBITMQ | changes)
        (configuration,) = [
            line for line in platform.programs("flower").splitlines() if line.startswith("environment=")
        ]
        return platform.described()["celery"]["digest"], configuration

    first = digests()
    assert first == digests()
    for changed in (digests(celery_broker_url="amqps://app:x@mq/shop"), digests(celery_services_ca=CA + CA)):
        assert changed[0] != first[0]
        assert changed[1] != first[1]


def test_the_end_of_a_deployment_says_what_cannot_be_done() -> None:
    text = host(**RABBITMQ).described()["summary"]
    assert "amqps://mq.example.org:5671/shop, which the platform does not run" in text
    for word in ("no policies", "publishes are confirmed", "set celery_broker_api_url", "noeviction", "its extensions"):
        assert word in text
    assert "s3cret" not in text
    assert "RabbitMQ's page" not in text
    assert "Not run" not in text
    assert "does not run" not in Platform().described()["summary"]


def test_flower_does_not_send_the_password_to_a_port_that_it_guesses() -> None:
    assert "FLOWER_BROKER_API='http://127.0.0.1:1/api/'" in host(**RABBITMQ).text("flower", "/etc/flower/environment")
    api = host(**RABBITMQ, celery_broker_api_url="https://mq.example.org/api/")
    assert "FLOWER_BROKER_API='https://mq.example.org/api/'" in api.text("flower", "/etc/flower/environment")
    assert "celery_broker_api_url" not in api.described()["summary"]
    assert "FLOWER_BROKER_API" not in host(**REDIS).text("flower", "/etc/flower/environment")


def test_one_service_may_be_elsewhere_and_the_others_here() -> None:
    groups = {name: ["a"] for name in GROUPS if name != "brokers"}
    platform = Platform(groups=groups, celery_broker_url=RABBITMQ["celery_broker_url"])
    assert platform.described()["services"][:2] == ["redis", "postgresql"]
    environment = platform.text("celery", "/etc/celery/environment")
    assert "@127.0.0.1:6379/1'" in environment
    assert "mq.example.org" in environment
