# SPDX-License-Identifier: MIT
"""Check a host against the services that it is to run: the table of services, and who owns what."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts import (
    application,
    nginx,
    ports,
    postgresql,
    rabbitmq,
    redis,
    supervisor,
)
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.conflict import Conflict
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.host import Host
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.room import check_room

Check = Callable[[Host, Mapping[str, Any]], Iterable[Conflict]]
# By service: its units, the first of which the platform configures; the account that owns its sockets, where its unit
# does not tell; the check for a host on which the platform has not configured the service.
SERVICES: dict[str, tuple[tuple[str, ...], str, Check]] = {
    # systemd itself holds epmd's socket
    "rabbitmq": (("rabbitmq-server.service", "epmd.service", "epmd.socket", "init.scope"), "", rabbitmq.check_rabbitmq),
    "redis": (("redis-server.service",), "", redis.check_redis),
    "cache": (("redis-server@cache.service",), "", redis.check_cache),
    "postgresql": (("postgresql@{version}-main.service",), "", postgresql.check_postgresql),
    "nginx": (("nginx.service",), "", nginx.check_nginx),
    "supervisor": (("supervisor.service",), "", supervisor.check_supervisor),
    "celery": (("supervisor.service",), "celery", application.check_application),
    "flower": (("supervisor.service",), "flower", application.check_application),
}


def is_claimed(host: Host, service: Mapping[str, Any]) -> bool:
    """Return whether the platform has configured a service on a host, or has begun to."""
    if service.get("root"):
        return application.unpacked(host, service["root"])
    return host.claimed(SERVICES[service["name"]][0][0].format(version="*"))


def check(host: Host, services: Sequence[Mapping[str, Any]]) -> list[Conflict]:
    """Return all conflicts of a host with the services that it is to run.

    Args:
        host: the host.
        services: each with `name`, `listen` (mappings of `port` and `addresses`) and, where it has them, `version` (of
            PostgreSQL), `programs` (names that supervisord is to run), `root`, `home` and `files` (of the application
            and Flower).
    """
    found: list[Conflict] = []
    new: list[str] = []
    for service in services:
        units, account, check_files = SERVICES[service["name"]]
        claimed = is_claimed(host, service)
        units = tuple(unit.format(version=service.get("version", "")) for unit in units)
        if not claimed:
            new.append(service["name"])
            host.wait_for_dpkg()
            found += check_files(host, service)
        if service.get("programs"):
            found += supervisor.check_programs(host, service)
        found += ports.check_ports(host, service, ports.Owner(units, account), claimed)
    return [*found, *check_room(host, new)]


def beside(host: Host, services: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the services in which the platform has, or gets, its place beside others."""
    versions = {service["name"]: service.get("version") or "" for service in services}
    asked: dict[str, Callable[[Host, bool], bool]] = {
        "rabbitmq": rabbitmq.beside,
        "postgresql": partial(postgresql.beside, version=versions.get("postgresql", "")),
        "nginx": nginx.beside,
        "supervisor": supervisor.beside,
    }
    claimed = {name: host.claimed(SERVICES[name][0][0].format(version="*")) for name in asked}
    return [name for name, ask in asked.items() if name in versions and ask(host, claimed[name])]
