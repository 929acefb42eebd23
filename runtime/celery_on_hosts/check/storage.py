"""Check whether a Redis that the platform does not run keeps what it accepts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from celery import Celery
from redis.exceptions import RedisError

from ..platform_file import Platform


def check(app: Celery, platform: Platform) -> Iterator[str]:
    """Yield a warning for each setting of the broker with which accepted messages can be lost.

    Args:
        app: the application, whose broker answers.
        platform: what it is to run on.
    """
    if platform.broker != "redis" or platform.managed_broker:
        return
    with app.connection_for_write() as connection:
        try:
            info: dict[str, Any] = connection.default_channel.client.info()
        except RedisError as error:
            yield f"the broker does not say whether it writes to disk and evicts: {error}"
            return
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        yield f"the broker evicts keys (maxmemory-policy {policy}): tasks are lost when memory is full. Use noeviction."
    if info.get("aof_enabled") == 0:
        yield "the broker has no append-only file: accepted tasks are lost when it dies. Set appendonly yes."
