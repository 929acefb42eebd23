#!/usr/bin/python
"""Ansible module: the users of a Redis that runs, and goes on running."""

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_users
short_description: The users of a Redis that runs, and goes on running
description:
  - Writes the users to Redis's C(aclfile) and makes those of the running server the same, without a restart and without
    a connection being closed. A server that is off reads the file when it starts.
  - Redis lets a user have several passwords. One that a user has already goes on working beside the new one until
    O(retire), also through a restart, so that a password is replaced without an outage.
  - RabbitMQ and PostgreSQL let root of their host in, Redis does not. So there is a user C(root), who may do everything
    and whose password is made on the host and known to O(root_password) alone.
  - Redis's own C(default) is switched off. It keeps its permissions, for Redis replays its append-only file as that
    user, and would lose what was written by transactions.
  - The first time, where there is no O(root_password), it fails and changes nothing when O(data) or the running server
    holds keys and there is no append-only file. A Redis with C(appendonly yes) would start empty there, and its next
    snapshot would replace the keys by the empty set.
options:
  users:
    description: The users.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The user's name.
        type: str
        required: true
      password:
        description: The user's password.
        type: str
        required: true
      rules:
        description: What the user may do, as Redis's ACL rules.
        type: str
        required: true
  retire:
    description: Remove all other passwords and users.
    type: bool
    default: false
  address:
    description: Where the server listens.
    type: str
    default: 127.0.0.1
  port:
    description: The port there.
    type: int
    default: 6379
  file:
    description: The C(aclfile) of redis.conf.
    type: path
    default: /etc/redis/users.acl
  root_password:
    description: The file with the password of the user C(root), for root alone.
    type: path
    default: /etc/redis/root.password
  data:
    description: The folder in which Redis keeps its data.
    type: path
    default: /var/lib/redis
  owner:
    description: The account that Redis runs as.
    type: str
    default: redis
  unit:
    description: Redis's systemd unit. It is restarted where the running server lets nobody in.
    type: str
    default: redis-server
author:
  - Celery on Hosts
"""

EXAMPLES = r"""
- name: Let the application in
  celery_on_hosts.platform.redis_users:
    users:
      - {name: celery, password: "{{ celery_redis_password }}", rules: "~* &* +@all -@admin -@dangerous"}
"""

RETURN = r"""
passwords:
  description: How many passwords each user has.
  returned: always
  type: dict
  sample: {celery: 2, operator: 1}
restarted:
  description: Whether Redis had to be restarted, because it let nobody in.
  returned: always
  type: bool
"""

import grp
import hashlib
import os
import pwd
import re
import secrets
import socket
import subprocess
from pathlib import Path
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.module_utils.files import FilesError, SilentModule, bring
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.redis_data import lost_by_a_start

HASH = re.compile(r"#[0-9a-f]{64}\b")


class RedisError(Exception):
    """What Redis refuses, in its own words."""


class Redis:
    """A connection that speaks as much of Redis's protocol as its ACL commands need.

    Args:
        address: where the server listens.
        port: the port there.
    """

    def __init__(self, address: str, port: int) -> None:
        self._socket = socket.create_connection((address, port), timeout=10)
        self._answers = self._socket.makefile("rb")

    def __call__(self, *words: str) -> Any:
        """Run a command. Raises RedisError when it is refused."""
        sent = [f"*{len(words)}\r\n".encode()]
        for word in words:
            sent += [f"${len(word.encode())}\r\n".encode(), word.encode(), b"\r\n"]
        self._socket.sendall(b"".join(sent))
        return self._answer()

    def _answer(self) -> Any:
        line = self._answers.readline().decode()
        if not line:
            raise RedisError("it closed the connection")
        kind, value = line[0], line[1:].rstrip("\r\n")
        if kind == "-":
            raise RedisError(value)
        if kind == "*":
            return [self._answer() for _ in range(int(value))]
        if kind == "$":
            return self._answers.read(int(value) + 2)[:-2].decode() if int(value) >= 0 else None
        return int(value) if kind == ":" else value


def digest(password: str) -> str:
    """A password as Redis's ACL rules name it."""
    return "#" + hashlib.sha256(password.encode()).hexdigest()


def read(path: str) -> str:
    """A file's text, empty where there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def by_name(text: str) -> dict[str, str]:
    """The lines of an aclfile, by the user's name."""
    return {line.split()[1]: line for line in text.splitlines() if line.startswith("user ")}


def aclfile(users: list[dict[str, str]], before: dict[str, str]) -> str:
    """The text of an aclfile.

    Args:
        users: their names, passwords and rules.
        before: the lines, by user, of those whose passwords go on working.
    """
    lines = {"default": "user default reset off ~* &* +@all"}
    for user in users:
        new = digest(user["password"])
        old = [one for one in HASH.findall(before.get(user["name"], "")) if one != new]
        lines[user["name"]] = " ".join(["user", user["name"], "reset", "on", new, *old, user["rules"].strip()])
    lines |= {name: line for name, line in before.items() if name not in lines}
    return "".join(f"{line}\n" for line in lines.values())


def listens(address: str, port: int) -> bool:
    """Whether there is a server."""
    try:
        Redis(address, port)
    except ConnectionRefusedError:
        return False
    return True


def log_in(address: str, port: int, users: list[dict[str, str]]) -> Redis | None:
    """A connection of the first of these users who is let in and may administer; None when nobody is."""
    for user in users:
        redis = Redis(address, port)
        try:
            redis("AUTH", user["name"], user["password"])
            redis("ACL", "LIST")
        except RedisError:
            continue
        return redis
    return None


def make_the_same(redis: Redis, text: str, retire: bool) -> bool:
    """Give a running server the users of an aclfile, and say whether that changed anything.

    Args:
        redis: a connection that may administer.
        text: the aclfile.
        retire: remove the users who are not in it.

    Raises:
        RedisError: a rule is wrong.
    """
    before = redis("ACL", "LIST")
    wanted = by_name(text)
    for name, line in wanted.items():
        redis("ACL", "SETUSER", name, *line.split()[2:])
    gone = sorted(set(redis("ACL", "USERS")) - wanted.keys()) if retire else []
    if gone:
        redis("ACL", "DELUSER", *gone)
    return bool(redis("ACL", "LIST") != before)


def main() -> None:
    """Entry point of the module."""
    word = {"type": "str", "required": True}
    module = SilentModule(
        argument_spec={
            "users": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {"name": word, "password": word | {"no_log": True}, "rules": word},
            },
            "retire": {"type": "bool", "default": False},
            "address": {"type": "str", "default": "127.0.0.1"},
            "port": {"type": "int", "default": 6379},
            "file": {"type": "path", "default": "/etc/redis/users.acl"},
            "root_password": {"type": "path", "default": "/etc/redis/root.password", "no_log": False},
            "data": {"type": "path", "default": "/var/lib/redis"},
            "owner": {"type": "str", "default": "redis"},
            "unit": {"type": "str", "default": "redis-server"},
        },
        supports_check_mode=True,
    )
    options = module.params
    root_password = read(options["root_password"]).strip()
    lost = "" if root_password else lost_by_a_start(Path(options["data"]), options["address"], options["port"])
    if lost:
        module.fail_json(
            msg=f"Nothing was changed: Redis has {lost}, and no append-only file. With `appendonly yes` it would start "
            "empty, and its next snapshot would replace dump.rdb by the empty set. What to do: use another host; or, "
            f"where the keys are not needed, stop Redis and move {options['data']}/dump.rdb away; or let Redis write "
            "its keys to an append-only file first (redis-cli CONFIG SET appendonly yes)."
        )
    root = {"name": "root", "password": root_password, "rules": "~* &* +@all"}
    root["password"] = root["password"] or secrets.token_urlsafe(32)
    text = aclfile([root, *options["users"]], {} if options["retire"] else by_name(read(options["file"])))
    entry = {"state": None, "content": None, "link": None}
    me = {"owner": pwd.getpwuid(os.geteuid()).pw_name, "group": grp.getgrgid(os.getegid()).gr_name}
    redis_s = {"owner": options["owner"], "group": options["owner"]}
    key = entry | me | {"dest": options["root_password"], "secret": root["password"] + "\n", "mode": "0600"}
    acl = entry | redis_s | {"dest": options["file"], "secret": text, "mode": "0640"}
    passwords = {name: len(HASH.findall(line)) for name, line in by_name(text).items()}
    result: dict[str, Any] = {"changed": False, "diff": [], "passwords": passwords, "restarted": False}

    def write(file: dict[str, Any]) -> None:
        written, diff = bring([file], module.check_mode)
        result.update(changed=result["changed"] or bool(written), diff=result["diff"] + diff)

    try:
        write(key)
        running = not module.check_mode and listens(options["address"], options["port"])
        redis = log_in(options["address"], options["port"], [root, *options["users"]]) if running else None
        # First the server, which refuses wrong rules: with those in the file it would not start again.
        if redis and make_the_same(redis, text, options["retire"]):
            result["changed"] = True
        write(acl)
        if running and not redis:
            subprocess.run(["systemctl", "try-restart", options["unit"]], check=True, capture_output=True)
            result.update(changed=True, restarted=True)
    except (FilesError, OSError, RedisError, subprocess.CalledProcessError) as error:
        module.fail_json(msg=f"Redis on {options['address']}:{options['port']}: {error}", **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
