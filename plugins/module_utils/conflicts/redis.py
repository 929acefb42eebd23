# SPDX-License-Identifier: MIT
"""Check a Redis that the platform has not configured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.conflict import Conflict
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.host import Host, settings_of
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.packages import check_file
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.redis_data import (
    has_append_only_file,
    lost_by_a_start,
)

CONSENT = ' Or let the deployment take it over, keys included: celery_take_over: ["redis"]'
# With another value of these, the keys would not be found, or be copied anew from another server.
KEPT_SETTINGS = {
    "port": "6379",
    "dir": "/var/lib/redis",
    "dbfilename": "dump.rdb",
    "appenddirname": "appendonlydir",
    "appendfilename": "appendonly.aof",
    "databases": "16",
    "cluster-enabled": "no",
}
REFUSED_SETTINGS = ("include", "loadmodule", "rename-command", "replicaof", "slaveof")


def check_redis(host: Host, service: Mapping[str, Any]) -> Iterator[Conflict]:
    """Check a Redis that the platform has not configured."""
    if service.get("take_over"):
        yield from _check_settings(host)
        return
    for one in check_file(host, "redis", host.path("/etc/redis/redis.conf"), "redis-server"):
        yield Conflict(one.service, one.found, one.means, f"{one.advice}.{CONSENT}")
    data = host.path("/var/lib/redis")
    port = service["listen"][0]["port"] if service["listen"] else 6379
    if has_append_only_file(data):
        yield Conflict(
            "redis",
            "/var/lib/redis, which holds an append-only file",
            "the platform's Redis would read it, and mix its own keys with those in it",
            f"Stop it and move its files away: systemctl stop redis-server && mv /var/lib/redis/* /root/.{CONSENT}",
        )
    elif lost := lost_by_a_start(data, "127.0.0.1", port):
        yield Conflict(
            "redis",
            lost.replace(str(data), "/var/lib/redis"),
            "the platform's Redis reads an append-only file. There is none: Redis would start empty, and its next "
            "snapshot would replace dump.rdb by the empty set",
            "Stop it, which saves the keys, and move them away: "
            f"systemctl stop redis-server && mv /var/lib/redis/dump.rdb /root/.{CONSENT}",
        )


def check_cache(host: Host, service: Mapping[str, Any]) -> Iterator[Conflict]:
    """Check that nobody else has a Redis of the cache's name; no package makes one, and the cache keeps no data."""
    path = host.path("/etc/redis/redis-cache.conf")
    if path.exists():
        yield Conflict(
            "cache",
            f"{host.name(path)}, which the platform did not write",
            "the deployment would replace it, and restart the Redis of the unit redis-server@cache with it",
            "Give that Redis another name: move the file, and enable redis-server@NAME in place of redis-server@cache.",
        )


def _check_settings(host: Host) -> Iterator[Conflict]:
    """Check that a Redis keeps its keys where they are taken over from."""
    for line in settings_of(host.path("/etc/redis/redis.conf")):
        name, _, value = line.partition(" ")
        value = value.strip("\"'")
        name = name.lower()
        if name in REFUSED_SETTINGS or value != KEPT_SETTINGS.get(name, value):
            yield Conflict(
                "redis",
                f"`{line}` in /etc/redis/redis.conf",
                "the platform's Redis runs without this line, and so without the keys, or not with all of them",
                "Change the line and restart Redis, or use another host for the platform's Redis.",
            )
