# SPDX-License-Identifier: MIT
"""Services that the platform uses and does not run: an address in place of a group. Standard library only.

A managed RabbitMQ, Redis or PostgreSQL is named by ``celery_broker_url``, ``celery_result_url`` and
``celery_database_url``. This module says what an address means, and what the platform cannot do for such a service.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

# by group, the variable that names a service elsewhere
URLS = {"brokers": "celery_broker_url", "results": "celery_result_url", "database": "celery_database_url"}
# by scheme, the kind of broker
BROKERS = {"amqp": "rabbitmq", "amqps": "rabbitmq", "redis": "redis", "rediss": "redis"}
REDIS = ("redis", "rediss")
CA_FILE = "services-ca.crt"  # in the folder of the settings
CERT_REQUIRED = 2  # ssl.CERT_REQUIRED, as JSON can hold it
ALIVE = "whether it is up, is backed up and has space is for its owner to watch"


def url_of(variables: Mapping[str, Any], group: str) -> str:
    """Return the address of a group's service, empty where the platform runs the service itself."""
    return str(variables.get(URLS[group]) or "")


def elsewhere(variables: Mapping[str, Any]) -> frozenset[str]:
    """Return the groups whose service runs elsewhere."""
    return frozenset(group for group in URLS if url_of(variables, group))


def masked(url: str) -> str:
    """Return an address as a message may show it, without its user, its password and its query."""
    try:
        found = urlsplit(url)
        host = f"{found.hostname or ''}{f':{found.port}' if found.port else ''}"
        if "@" in found.path:  # a password with a slash that is not encoded
            raise ValueError
    except ValueError:
        return f"{url.partition('://')[0]}://…" if "://" in url else "…"
    return f"{found.scheme}://{host}{found.path}"


def chooses_tls(url: SplitResult) -> bool:
    """Return whether an address says itself how TLS is used."""
    return any(name.startswith(("ssl", "tls")) for name in parse_qs(url.query, keep_blank_values=True))


def tls_options(url: str, ca_file: str = "") -> dict[str, Any]:
    """Return how Celery connects to a service over TLS: its certificate has to be valid for its host's name.

    Args:
        url: the service's address.
        ca_file: the certificates of the authorities, on the host; those of the system where it is empty.

    Returns:
        options for ``broker_use_ssl`` or ``redis_backend_use_ssl``; empty where the address has no TLS, or has
        options of its own.
    """
    found = urlsplit(url)
    if found.scheme == "amqps":
        known = {"ca_certs": ca_file} if ca_file else {}
        return {"cert_reqs": CERT_REQUIRED, "server_hostname": found.hostname, **known}
    if found.scheme == "rediss" and not chooses_tls(found):
        known = {"ssl_ca_certs": ca_file} if ca_file else {}
        return {"ssl_cert_reqs": "required", "ssl_check_hostname": True, **known}
    return {}


def tls_settings(variables: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """Return Celery's settings for TLS to services elsewhere.

    Args:
        variables: the addresses, and ``celery_services_ca``.
        folder: where the file of the authorities is.
    """
    ca_file = f"{folder}/{CA_FILE}" if variables.get("celery_services_ca") else ""
    options = {
        "broker_use_ssl": tls_options(url_of(variables, "brokers"), ca_file),
        "redis_backend_use_ssl": tls_options(url_of(variables, "results"), ca_file),
    }
    return {name: value for name, value in options.items() if value}


def is_postgresql(url: str) -> bool:
    """Return whether an address is PostgreSQL's, whatever driver its scheme names."""
    return re.match(r"postgres(ql)?(\+\w+)?://", url) is not None


def queue_arguments(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return what queues of a RabbitMQ elsewhere are declared with: nobody can set a policy for them.

    Args:
        variables: ``celery_delivery_limit``, and ``celery_rabbitmq_consumer_timeout`` in seconds.
    """
    return {
        "x-dead-letter-exchange": "celery.dead",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
        "x-delivery-limit": variables["celery_delivery_limit"],
        "x-consumer-timeout": variables["celery_rabbitmq_consumer_timeout"] * 1000,
    }


def notes(variables: Mapping[str, Any], flower: bool) -> list[tuple[str, str, list[str]]]:
    """Return what the platform cannot promise for services elsewhere.

    Args:
        variables: the addresses, and ``celery_broker_api_url``.
        flower: whether Flower runs.

    Returns:
        for each service its name, its address without credentials, and sentences.
    """
    found = []
    for group, name in (("brokers", "Broker"), ("results", "Result store"), ("database", "Database")):
        url = url_of(variables, group)
        if url:
            lines = _notes_of_broker(url, variables, flower) if group == "brokers" else _NOTES[group]
            found.append((name, masked(url), [*lines, ALIVE]))
    return found


_REDIS = (
    "it has to write to disk before it answers (appendonly yes, appendfsync always), and must not evict (noeviction)"
)
_NOTES: Mapping[str, list[str]] = {
    "results": [_REDIS],
    "database": ["its account, its rights and its extensions are its owner's"],
}


def _notes_of_broker(url: str, variables: Mapping[str, Any], flower: bool) -> list[str]:
    if BROKERS.get(urlsplit(url).scheme) == "redis":
        lines = [_REDIS, "Flower logs in as the application does"]
        return lines if flower else lines[:1]
    lines = [
        "no policies: queues get their dead-letter exchange and limits as arguments, which cannot change later; a "
        "delayed task whose queue is gone is dropped",
        "its memory and disk alarms are its owner's; publishes are confirmed as ever",
    ]
    if flower:
        lines.append("Flower logs in as the application does")
        if not variables.get("celery_broker_api_url"):
            lines.append("Flower's page of the broker is empty: set celery_broker_api_url to its management API")
    return lines
