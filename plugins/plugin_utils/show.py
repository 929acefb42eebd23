# SPDX-License-Identifier: MIT
"""Show what the model says of a host, without secrets. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.table import table
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.topology import place

HIDDEN = "(hidden)"
CREDENTIALS = re.compile(r"(?<=://)([^:/@\s]*):[^@\s]+(?=@)")  # of an address
_SECRET_KEYS = ("password", "secret")


def without_secrets(value: Any, key: str = "") -> Any:
    """Return a value of the fact ``platform`` with passwords, secret files and credentials in addresses hidden."""
    if isinstance(value, Mapping):
        return {name: without_secrets(one, str(name)) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(one, key) for one in value]
    if isinstance(value, str):
        return HIDDEN if key in _SECRET_KEYS and value else CREDENTIALS.sub(rf"\1:{HIDDEN}", value)
    return value


def show(platforms: Iterable[Mapping[str, Any]]) -> str:
    """Return what the model says of some hosts, without secrets.

    Args:
        platforms: the fact ``platform`` of each host.
    """
    return "\n\n\n".join(_host(one) for one in platforms)


def _host(platform: Mapping[str, Any]) -> str:
    """Return what a host runs: its programs, addresses, ports, files and accounts."""
    shown = without_secrets(platform)
    celery, flower = shown.get("celery", {}), shown.get("flower", {})
    listen = [
        (claim["name"], ", ".join(place(address, one["port"]) for address in one["addresses"]))
        for claim in shown["claims"]
        for one in claim.get("listen", [])
    ]
    programs = [(one["name"], f"{one['stop_wait']} s", one["command"]) for one in celery.get("programs", [])]
    files = [entry["dest"] for entry in celery.get("files", []) if entry.get("state") != "absent"]
    users = [
        (service, user["name"], user.get("rules") or user.get("tags") or "")
        for service in ("rabbitmq", "redis")
        for user in shown.get(service, {}).get("users", [])
    ]
    users += [("postgresql", shown["postgresql"]["login"], "")] if "postgresql" in shown else []
    endpoints = {name: value for name, value in celery.get("endpoints", {}).items() if value}
    endpoints |= {"flower's broker": flower["broker_url"]} if flower else {}
    drained = "\n(drained: the workers are out of service)" if shown["drained"] else ""
    parts = [
        f"{shown['name']}  {shown['address']}{drained}",
        _section("Services", [(name,) for name in shown["services"]]),
        _section("Debian packages", [(name,) for name in shown["packages"]]),
        _section("Listens at", listen),
        _section("Finds", endpoints.items()),
        _section("Programs, with the time that each has to stop", programs),
        _section("Reads queues", [(name,) for name in shown["reads"]]),
        _section("Files that programs read", [(name,) for name in files]),
        _section("Accounts of its services", users),
    ]
    return "\n\n".join(part for part in parts if part)


def _section(title: str, rows: Iterable[tuple[str, ...]]) -> str:
    """Return a titled table; nothing where there are no rows."""
    lines = [tuple(row) for row in rows]
    if not lines:
        return ""
    return "\n".join([title, *(f"  {line}" for line in table(lines))])
