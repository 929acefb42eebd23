# SPDX-License-Identifier: MIT
"""Check the addresses of services that the platform does not run. A message never shows a password."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import SplitResult, urlsplit

from ..elsewhere import BROKERS, REDIS, URLS, chooses_tls, masked
from .problem import Problem

Groups = Mapping[str, Sequence[str]]

ENCODE = (
    "Percent-encode the user's name and the password, such as {{ password | urlencode | replace('/', '%2F') }} in the "
    "inventory."
)
EXAMPLES = {
    "celery_broker_url": "amqps://user:password@mq.example.org:5671/vhost or rediss://:password@redis.example.org:6379/0",
    "celery_result_url": "rediss://:password@redis.example.org:6379/1",
    "celery_database_url": "postgresql://user:password@db.example.org:5432/name",
    "celery_broker_api_url": "https://mq.example.org/api/",
}
SCHEMES: Mapping[str, Sequence[str]] = {
    "celery_broker_url": tuple(BROKERS),
    "celery_result_url": REDIS,
    "celery_broker_api_url": ("http", "https"),
}
OTHER_RESULTS = "Any other result store is the application's own: set result_backend in the application."


def check_elsewhere(variables: Mapping[str, Any], groups: Groups, user: Sequence[str] = ()) -> Iterator[Problem]:
    """Check the addresses of services elsewhere, and that no group runs the same service.

    Args:
        variables: a host's variables.
        groups: hosts by group.
        user: the variables that the user set.
    """
    for group, name in URLS.items():
        url = variables.get(name) or ""
        yield from _check_url(name, url)
        hosts = groups.get(group, ())
        if url and hosts:
            found = f"an address, and {', '.join(hosts)} in the group {group}"
            advice = f"Leave the group {group} out to use the service of the address, or remove {name}."
            yield Problem(name, found, "the address or the group", advice)
    if variables.get("celery_cache_enabled") is True and not groups.get("results"):
        advice = "Set CACHE_URL in celery_app_environment to a Redis of yours, and remove celery_cache_enabled."
        yield Problem("celery_cache_enabled", "true, and no host in the group results", "a host there", advice)
    yield from _check_url("celery_broker_api_url", variables.get("celery_broker_api_url") or "")
    yield from _check_kind(variables, user)
    yield from _check_authorities(variables.get("celery_services_ca") or "")


def _check_url(name: str, url: Any) -> Iterator[Problem]:
    """Check that an address can be read, and names what the platform can use."""
    if not url:
        return
    if not isinstance(url, str):
        yield Problem(name, f"a value of type {type(url).__name__}", EXAMPLES[name])
        return
    try:
        found = urlsplit(url)
        _ = found.port
    except ValueError:
        yield Problem(name, f"{masked(url)}, an address that cannot be read", EXAMPLES[name], ENCODE)
        return
    schemes = SCHEMES.get(name, ())
    if not found.scheme or not found.hostname or (schemes and found.scheme not in schemes):
        allowed = f"{', '.join(f'{scheme}://' for scheme in schemes)}, such as {EXAMPLES[name]}"
        advice = OTHER_RESULTS if name == "celery_result_url" and found.scheme else ""
        yield Problem(name, masked(url), allowed if schemes else EXAMPLES[name], advice)
        return
    yield from _check_parts(name, url, found)


def _check_parts(name: str, url: str, found: SplitResult) -> Iterator[Problem]:
    """Check the credentials and the query of an address."""
    credentials = found.netloc.rpartition("@")[0]
    raw = re.search(r"[@\s]|%(?![0-9A-Fa-f]{2})", credentials) or "@" in found.path or found.fragment
    if raw or re.search(r"[\s;]", url):
        yield Problem(
            name, f"{masked(url)}, with a mark that is not encoded, or a second address", EXAMPLES[name], ENCODE
        )
    elif name == "celery_broker_url" and found.scheme in ("amqp", "amqps") and found.query:
        advice = "celery_services_ca names the authorities of amqps. Other options are Celery's settings."
        yield Problem(name, f"{masked(url)} with options after ?", "an address without options", advice)
    elif name == "celery_broker_api_url" and credentials:
        advice = "Remove the account: Flower logs in with the account of celery_broker_url."
        yield Problem(name, f"{masked(url)} with an account", EXAMPLES[name], advice)
    elif found.scheme in REDIS and not re.fullmatch(r"/?\d*", found.path):
        yield Problem(name, masked(url), f"a database's number after the host, such as {EXAMPLES[name]}")
    elif found.scheme == "redis" and chooses_tls(found):
        yield Problem(
            name, f"{masked(url)} with options for TLS", "rediss:// for TLS", "Write rediss:// in place of redis://."
        )


def _check_kind(variables: Mapping[str, Any], user: Sequence[str]) -> Iterator[Problem]:
    """Check that celery_broker, where the user set it, is what the broker's address says."""
    scheme = str(variables.get("celery_broker_url") or "").partition("://")[0]
    kind, broker = BROKERS.get(scheme), variables.get("celery_broker")
    if kind and "celery_broker" in user and broker in BROKERS.values() and broker != kind:
        advice = "Remove celery_broker: the address says which broker it is."
        yield Problem(
            "celery_broker", f"{broker} beside a celery_broker_url that begins with {scheme}://", kind, advice
        )


def _check_authorities(text: Any) -> Iterator[Problem]:
    if text and (not isinstance(text, str) or "-----BEGIN CERTIFICATE-----" not in text):
        advice = "Read a file of this machine with \"{{ lookup('file', inventory_dir ~ '/group_vars/ca.pem') }}\"."
        yield Problem("celery_services_ca", "a text that holds no certificate", "certificates in PEM", advice)
