#!/usr/bin/python
# SPDX-License-Identifier: MIT
"""Ansible module: keep the keys of a Redis of others for the platform's configuration."""

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_taken_over
short_description: Keep the keys of a Redis of others for the platform's configuration
description:
  - With C(appendonly yes), Redis reads the append-only file and nothing else. So a Redis that keeps its keys in a
    snapshot has to write them to an append-only file before it starts with the platform's configuration.
  - Starts Redis with the configuration that it has, so that it loads its snapshot, switches the append-only file on,
    waits until all keys of all databases are written to it, saves a snapshot, and stops Redis.
  - Keeps a copy of each of O(files), and the snapshot of before, under a name with the date beside them.
  - Does nothing where the platform has configured Redis, or where Redis holds no keys.
  - Fails and changes nothing further where Redis lets nobody in, or cannot write its keys.
author: Celery on Hosts
options:
  address:
    description: Where the server listens.
    type: str
    default: 127.0.0.1
  port:
    description: The port there.
    type: int
    default: 6379
  data:
    description: The folder in which Redis keeps its data.
    type: path
    default: /var/lib/redis
  configuration:
    description: The server's configuration, for the password that it demands.
    type: path
    default: /etc/redis/redis.conf
  files:
    description: The files that are going to be replaced.
    type: list
    elements: path
    default: [/etc/redis/redis.conf, /etc/redis/users.acl]
  unit:
    description: Redis's systemd unit.
    type: str
    default: redis-server
  state_folder:
    description: The folder on the host for what the platform remembers.
    type: path
    default: /var/lib/celery-platform
  timeout:
    description: How many seconds Redis may take to load or to write its keys.
    type: int
    default: 600
"""

EXAMPLES = r"""
- name: Keep the keys of others
  celery_on_hosts.platform.redis_taken_over:
"""

RETURN = r"""
keys:
  description: How many keys were written to the append-only file. 0 in check mode.
  returned: always
  type: int
copies:
  description: The copies that were made.
  returned: always
  type: list
  elements: str
"""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.redis_client import (
    RedisClient,
    RedisError,
    password_of,
)
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.redis_data import (
    has_append_only_file,
    keys_in_snapshot,
    lost_by_a_start,
)
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.taken import copies_of, keep_beside, mark


class TakeOverError(Exception):
    """Why the keys cannot be kept."""


def systemctl(verb: str, unit: str) -> None:
    """Call systemctl.

    Raises:
        TakeOverError: it failed.
    """
    done = subprocess.run(["systemctl", verb, "--quiet", unit], capture_output=True, text=True, check=False)
    if done.returncode:
        raise TakeOverError(f"`systemctl {verb} {unit}` failed: {done.stderr.strip()}")


def until(good: Callable[[], bool], what: str, timeout: float) -> None:
    """Wait.

    Raises:
        TakeOverError: `what` did not happen in time.
    """
    deadline = time.monotonic() + timeout
    while not good():
        if time.monotonic() > deadline:
            raise TakeOverError(f"after {timeout:g} s, {what}")
        time.sleep(0.1)


def connect(options: dict[str, Any]) -> RedisClient:
    """Return a connection to a server that has loaded its data, as the user `default`.

    Raises:
        TakeOverError: there is none.
        RedisError: Redis does not let it in.
    """
    found: list[RedisClient] = []

    def listens() -> bool:
        try:
            found.append(RedisClient(options["address"], options["port"], options["timeout"]))
        except OSError:
            return False
        return True

    until(listens, f"nothing listens at {options['address']}:{options['port']}", 30)
    client = found[0]
    if password := password_of(Path(options["configuration"])):
        client("AUTH", password)
    until(lambda: client.info("persistence").get("loading") == "0", "Redis still loads its data", options["timeout"])
    return client


def keys_of(client: RedisClient) -> int:
    """Return how many keys all databases hold."""
    return sum(int(line.split(",")[0].removeprefix("keys=")) for line in client.info("keyspace").values())


def write_keys(client: RedisClient, data: Path, timeout: float) -> int:
    """Let a server write all its keys to an append-only file and to a snapshot, and return how many there are.

    Raises:
        TakeOverError: it cannot.
        RedisError: Redis refuses a command.
    """
    if (folder := client.setting("dir")) != str(data):
        raise TakeOverError(f"Redis keeps its data in {folder}, not in {data}")
    keys = keys_of(client)
    # Written at the stop, too: where the deployment is cut off, Redis goes on with its own configuration.
    client("CONFIG", "SET", "save", "3600 1")
    client("SAVE")
    if client.setting("appendonly") != "yes":
        client("CONFIG", "SET", "appendonly", "yes")

    def written() -> bool:
        said = client.info("persistence")
        if said["aof_last_bgrewrite_status"] != "ok":
            raise TakeOverError("Redis cannot write its append-only file; its log says why")
        return said["aof_rewrite_in_progress"] == said["aof_rewrite_scheduled"] == "0" and has_append_only_file(data)

    until(written, "Redis still writes its append-only file", timeout)
    return keys


def keep_snapshot(data: Path) -> list[str]:
    """Give the snapshot of before a second name, under which the next snapshot does not replace it."""
    snapshot = data / "dump.rdb"
    if not keys_in_snapshot(snapshot) or any(copy.samefile(snapshot) for copy in copies_of(snapshot)):
        return []
    copy = snapshot.with_name(f"dump.rdb.before-celery-{time.strftime('%Y-%m-%dT%H%M%S')}")
    os.link(snapshot, copy)
    return [str(copy)]


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "address": {"type": "str", "default": "127.0.0.1"},
            "port": {"type": "int", "default": 6379},
            "data": {"type": "path", "default": "/var/lib/redis"},
            "configuration": {"type": "path", "default": "/etc/redis/redis.conf"},
            "files": {
                "type": "list",
                "elements": "path",
                "default": ["/etc/redis/redis.conf", "/etc/redis/users.acl"],
            },
            "unit": {"type": "str", "default": "redis-server"},
            "state_folder": {"type": "path", "default": "/var/lib/celery-platform"},
            "timeout": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    options = module.params
    data, state = Path(options["data"]), Path(options["state_folder"])
    held = lost_by_a_start(data, options["address"], options["port"])
    if not held and has_append_only_file(data):
        held = f"an append-only file in {data}"
    result: dict[str, Any] = {"changed": False, "keys": 0, "copies": []}
    if (state / f"applied/{options['unit']}.service.json").exists() or not held:
        module.exit_json(**result)
    result["changed"] = True
    try:
        result["copies"] = [str(copy) for copy in keep_beside(map(Path, options["files"]), module.check_mode)]
        if not module.check_mode:
            active = subprocess.run(["systemctl", "is-active", "--quiet", options["unit"]], check=False)
            mark("redis", "stopped" if active.returncode else "started", state / "taken")
            result["copies"] += keep_snapshot(data)
            systemctl("start", options["unit"])
            with connect(options) as client:
                result["keys"] = write_keys(client, data, options["timeout"])
            systemctl("stop", options["unit"])
    except (OSError, RedisError, TakeOverError) as error:
        module.fail_json(
            msg=f"Redis cannot be taken over: {error}. Its configuration and data are as they were, {held} included. "
            "What to do: use another host, or see the log in /var/log/redis.",
            **result,
        )
    lines = [f"redis: {held}, kept: written to an append-only file before the configuration changes"]
    lines += [f"redis: the copy {copy}" for copy in result["copies"]]
    module.exit_json(**result, diff={"before": "", "after": "".join(f"{line}\n" for line in lines)})


if __name__ == "__main__":
    main()
