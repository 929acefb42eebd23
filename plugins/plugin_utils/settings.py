# SPDX-License-Identifier: MIT
"""Make what every process of the application reads when it starts: Celery's settings, environment, ``platform.json``.

docs/settings.md says what each setting is for. The application's own settings win. Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.module_utils.names import SETTINGS
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils import database, elsewhere
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.web import DATA
from ansible_collections.celery_on_hosts.platform.runtime.celery_on_hosts import platform_file
from ansible_collections.celery_on_hosts.platform.runtime.celery_on_hosts.names import PLATFORM_RESULTS_VARIABLE

# celery_result_backend: what is not among these is the name or the address of a store
AUTO, PLATFORM, APPLICATION = RESULT_CHOICES = ("auto", "platform", "application")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
CANDIDATE_FOLDER = f"{SETTINGS}/next"  # settings that are checked before they are used
BEAT_MAX_AGE_S = 60

COMMON: Mapping[str, Any] = {
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "task_acks_on_failure": True,
    "task_acks_on_timeout": True,
    "task_create_missing_queues": False,
    "task_protocol": 2,
    "task_serializer": "json",
    "result_serializer": "json",
    "event_serializer": "json",
    "accept_content": ["json"],
    "result_accept_content": ["json"],
    "result_extended": True,
    "task_track_started": True,
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "worker_send_task_events": False,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "broker_connection_timeout": 4.0,
    "broker_pool_acquire_timeout": 30.0,
    "broker_heartbeat": 30,
    "beat_max_loop_interval": 15,
    "beat_sync_every": 1,
    "redis_socket_connect_timeout": 5.0,
    "redis_socket_timeout": 30.0,
    "redis_socket_keepalive": True,
    "redis_retry_on_timeout": True,
    "redis_backend_health_check_interval": 25,
    "result_backend_transport_options": {
        "retry_policy": {"max_retries": 5, "interval_start": 0, "interval_step": 0.5, "interval_max": 1}
    },
}
RABBITMQ: Mapping[str, Any] = {
    "broker_native_delayed_delivery_queue_type": "quorum",
    "worker_detect_quorum_queues": True,
    "broker_transport_options": {"confirm_publish": True, "confirm_timeout": 10},
}
REDIS: Mapping[str, Any] = {"worker_prefetch_multiplier": 1}
REDIS_TRANSPORT: Mapping[str, Any] = {
    "unacked_restore_interval": 10,
    "unacked_restore_throttle": 1,
    "socket_timeout": 30,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 25,
}


def celery_settings(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return Celery's settings for the inventory's broker and limits.

    Args:
        variables: ``celery_broker``, ``celery_redis_transport``, ``celery_redis_visibility_timeout``,
            ``celery_delivery_limit``, ``celery_prefetch_multiplier``, and the time limits, in seconds.
    """
    settings = {
        **COMMON,
        "task_time_limit": variables["celery_time_limit"],
        "task_soft_time_limit": variables["celery_soft_time_limit"],
        "worker_prefetch_multiplier": variables["celery_prefetch_multiplier"],
    }
    if variables["celery_broker"] == "rabbitmq":
        return {**settings, **RABBITMQ}
    stock = variables["celery_redis_transport"] == "stock"
    transport = {**REDIS_TRANSPORT, "visibility_timeout": 30, "delivery_limit": variables["celery_delivery_limit"]}
    if stock:
        transport = {**REDIS_TRANSPORT, "visibility_timeout": variables["celery_redis_visibility_timeout"]}
    return {**settings, **REDIS, "task_retry_on_worker_lost": stock, "broker_transport_options": transport}


def shared_description(variables: Mapping[str, Any], folder: str = SETTINGS) -> platform_file.Platform:
    """Return ``platform.json`` with what is the same on all hosts.

    Args:
        variables: as :func:`celery_settings` takes them, with ``celery_app``, ``celery_queues``,
            ``celery_message_signing``, and what names services elsewhere.
        folder: where the other files are that a process reads when it starts.
    """
    queue_arguments: dict[str, Any] = {}
    managed = not elsewhere.url_of(variables, "brokers")
    if variables["celery_broker"] == "rabbitmq":
        queue_arguments = {
            "x-queue-type": "quorum",
            **({} if managed else elsewhere.queue_arguments(variables)),
        }
    return platform_file.Platform(
        app=variables["celery_app"],
        broker=variables["celery_broker"],
        redis_transport=variables["celery_redis_transport"],
        queues=tuple(variables["celery_queues"]),
        queue_arguments=queue_arguments,
        managed_broker=managed,
        settings={**celery_settings(variables), **elsewhere.tls_settings(variables, folder)},
        max_time_limit_s=variables["celery_time_limit"],
        beat_max_age_s=BEAT_MAX_AGE_S,
        message_signing=variables["celery_message_signing"],
    )


def environment(
    variables: Mapping[str, Any], broker_url: str, result_url: str, database_url: str, folder: str = SETTINGS
) -> dict[str, Any]:
    """Return the environment of every process of the application.

    Args:
        variables: ``celery_app``, ``celery_secret_key``, ``celery_message_signing``, ``celery_app_environment``,
            ``celery_result_backend``.
        broker_url: the broker's address.
        result_url: the address of the platform's result store.
        database_url: the database's address, empty where the platform has none.
        folder: where the other files are that a process reads when it starts.
    """
    signing = {
        "CELERY_SECURITY_KEY": f"{folder}/signing.key",
        "CELERY_SECURITY_CERTIFICATE": f"{folder}/signing.crt",
        "CELERY_SECURITY_CERT_STORE": f"{folder}/signing.crt",
    }
    return {
        "CELERY_APP": variables["celery_app"],
        "CELERY_BROKER_URL": broker_url,
        **_result_store(variables["celery_result_backend"], result_url),
        "CELERY_LOADER": "celery_on_hosts.loader:Loader",
        "CELERY_PLATFORM": f"{folder}/platform.json",
        "CELERY_DATA_DIR": DATA,
        "SECRET_KEY": variables["celery_secret_key"],
        **({"DATABASE_URL": database_url} if database_url else {}),
        **database.client_environment(database_url),
        **_authorities_of_postgresql(variables, database_url, folder),
        **(signing if variables["celery_message_signing"] else {}),
        **variables["celery_app_environment"],
    }


def own_names(wanted: Mapping[str, str], environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return variables of the platform by the names that the application has for them.

    Args:
        wanted: ``celery_app_environment_from``: the application's names, each with the platform's.
        environment: what :func:`environment` returned, with the addresses of the cache.
    """
    return {name: environment[source] for name, source in wanted.items()}


def platform_names(variables: Mapping[str, Any]) -> list[str]:
    """Return the names of the variables in which the application finds the platform's services.

    Args:
        variables: ``celery_result_backend``, ``celery_database_enabled``, ``celery_database_url`` and
            ``celery_cache_enabled``.
    """
    names = ["CELERY_BROKER_URL", "CELERY_DATA_DIR", "SECRET_KEY"]
    if variables.get("celery_result_backend", AUTO) != APPLICATION:
        names.append("CELERY_RESULT_BACKEND")
    url = elsewhere.url_of(variables, "database")
    if url or variables.get("celery_database_enabled"):
        url = url or "postgresql://user:password@host/database"
        names += ["DATABASE_URL", *database.client_environment(url)]
    if variables.get("celery_cache_enabled"):
        names += ["CACHE_URL", "CHANNELS_URL"]
    return sorted(names)


def _authorities_of_postgresql(variables: Mapping[str, Any], url: str, folder: str) -> dict[str, str]:
    """Return where PostgreSQL's clients find the authorities of a database elsewhere; empty where there are none."""
    if variables.get("celery_services_ca") and elsewhere.is_postgresql(url):
        return {"PGSSLROOTCERT": f"{folder}/{elsewhere.CA_FILE}"}
    return {}


def _result_store(choice: str, url: str) -> dict[str, str]:
    """Return what decides where results are kept; ``celery_on_hosts.result_store`` says how.

    Args:
        choice: ``celery_result_backend``.
        url: the address of the platform's result store.
    """
    if choice == APPLICATION:
        return {}
    if choice == AUTO:
        return {"CELERY_RESULT_BACKEND": url, PLATFORM_RESULTS_VARIABLE: url}
    return {"CELERY_RESULT_BACKEND": url if choice == PLATFORM else choice}


def env_file(variables: Mapping[str, Any]) -> str:
    """Return environment variables as `KEY='value'` assignments, sorted, for `.` of a shell.

    A value may have more than one line.

    Raises:
        ValueError: a name or a value cannot be written so.
    """
    if not isinstance(variables, Mapping):
        raise ValueError(f"expected a mapping of names to values, found {type(variables).__name__}")
    for name, value in variables.items():
        if not isinstance(name, str) or not NAME.match(name):
            raise ValueError(f"{name!r} is no name of an environment variable; allowed: letters, digits, _")
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError(f"{name} is {value!r}; programs see text, so write it in quotes")
        if "\0" in str(value):
            raise ValueError(f"the value of {name} holds a NUL, which no program can get")
    quoted = {name: str(variables[name]).replace("'", "'\\''") for name in sorted(variables)}
    return "".join(f"{name}='{value}'\n" for name, value in quoted.items())


def short_digest(text: str, length: int = 12) -> str:
    """Return the first characters of a text's SHA-256 digest."""
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def settings_files(
    folder: str,
    *,
    environment: Mapping[str, Any],
    description: platform_file.Platform,
    worker_environments: Mapping[str, Mapping[str, Any]],
    signing: tuple[str, str] | None = None,
    authorities: str = "",
) -> list[dict[str, Any]]:
    """Return the files that programs read when they start, as entries of the module ``files``.

    Args:
        folder: where they go.
        environment: what all processes get.
        description: the content of ``platform.json``.
        worker_environments: by program, what it alone gets.
        signing: the key and the certificate that sign messages, both in PEM; None where messages are not signed.
        authorities: the certificates of authorities that services elsewhere are known by, in PEM; empty for none.
    """
    secret = {"group": "celery", "mode": "0640"}
    key, certificate = signing or ("", "")
    state = "file" if signing else "absent"
    return [
        {"dest": f"{folder}/environment", "secret": env_file(environment), **secret},
        {"dest": f"{folder}/signing.key", "secret": key, "state": state, **secret},
        {"dest": f"{folder}/signing.crt", "content": certificate, "state": state},
        {
            "dest": f"{folder}/{elsewhere.CA_FILE}",
            "content": authorities,
            "state": "file" if authorities else "absent",
        },
        {"dest": f"{folder}/platform.json", "content": description.to_json()},
        *(
            {"dest": f"{folder}/{program}.environment", "secret": env_file(own), **secret}
            for program, own in worker_environments.items()
        ),
    ]


def settings_digest(
    environment: Mapping[str, Any], certificate: str, shared: platform_file.Platform, files: str = ""
) -> str:
    """Return a digest of all that every program reads: a program restarts when it changes.

    Args:
        environment: what all processes get.
        certificate: the certificate that signs messages, and those of authorities; empty where there are none.
        shared: what :func:`shared_description` returned.
        files: the digest of files that all programs read.
    """
    return short_digest(env_file(environment) + certificate + shared.to_json() + files)


def configuration_digest(
    shared: str, description: platform_file.Platform, programs: Iterable[Mapping[str, Any]]
) -> str:
    """Return a digest of everything beside the release that decides whether a host's programs work.

    Args:
        shared: what :func:`settings_digest` returned.
        description: the host's ``platform.json``.
        programs: the application's programs of the host, with their commands.
    """
    return short_digest(shared + description.to_json() + json.dumps(list(programs), sort_keys=True))


def commands_digest(release: Iterable[str], static: Iterable[str]) -> str:
    """Return a digest of the commands that a deployment runs; empty for none.

    Args:
        release: the release commands.
        static: the commands that make static files on the host.
    """
    lists = [list(release), list(static)]
    return short_digest(json.dumps(lists), 6) if any(lists) else ""


def environment_suffix(environment: Mapping[str, Any]) -> str:
    """Return what a program's own environment adds to the digest of its configuration; empty for none."""
    return short_digest(json.dumps(environment), 6) if environment else ""
