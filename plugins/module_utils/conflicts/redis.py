# SPDX-License-Identifier: MIT
"""Check a Redis that the platform has not configured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.conflict import Conflict
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.host import Host
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.packages import check_file
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.redis_data import (
    has_append_only_file,
    lost_by_a_start,
)


def check_redis(host: Host, service: Mapping[str, Any]) -> Iterator[Conflict]:
    """Check a Redis that the platform has not configured."""
    yield from check_file(host, "redis", host.path("/etc/redis/redis.conf"), "redis-server")
    data = host.path("/var/lib/redis")
    port = service["listen"][0]["port"] if service["listen"] else 6379
    if has_append_only_file(data):
        yield Conflict(
            "redis",
            "/var/lib/redis, which holds an append-only file",
            "the platform's Redis would read it, and mix its own keys with those in it",
            "Stop it and move its files away: systemctl stop redis-server && mv /var/lib/redis/* /root/",
        )
    elif lost := lost_by_a_start(data, "127.0.0.1", port):
        yield Conflict(
            "redis",
            lost.replace(str(data), "/var/lib/redis"),
            "the platform's Redis reads an append-only file. There is none: Redis would start empty, and its next "
            "snapshot would replace dump.rdb by the empty set",
            "Stop it, which saves the keys, and move them away: "
            "systemctl stop redis-server && mv /var/lib/redis/dump.rdb /root/",
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
