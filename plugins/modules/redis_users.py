#!/usr/bin/python
"""Ansible module: set the users of a running Redis, without a restart."""

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_users
short_description: Set the users of a running Redis, without a restart
description:
  - Writes the users to Redis's C(aclfile) and makes those of the running server the same, without a restart and without
    a connection being closed. A server that is off reads the file when it starts.
  - Redis lets a user have several passwords. The previous password of a user works beside the new one until O(retire),
    also after a restart, so that a password is replaced without an outage.
  - RabbitMQ and PostgreSQL let root of their host in, Redis does not. So there is a user C(root), who may do everything
    and whose password is made on the host and known to O(root_password) alone.
  - Redis's own user C(default) is switched off. The user keeps its permissions, because Redis replays the append-only
    file as C(default), and would lose what transactions wrote.
  - Needs Debian's package python3-redis where a server runs.
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
  taken_over:
    description: >-
      M(celery_on_hosts.platform.redis_taken_over) has run. In check mode, keys without an append-only file are no error
      then.
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
    description: Redis's systemd unit. The unit is restarted where the running server lets no known user in.
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
  description: Whether Redis was restarted, because it let no known user in.
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

from ansible.module_utils.basic import missing_required_lib
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.files import FilesError, SilentModule, bring
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.redis_data import lost_by_a_start

HASH = re.compile(r"#[0-9a-f]{64}\b")


def digest(password: str) -> str:
    """Return a password as Redis's ACL rules write it."""
    return "#" + hashlib.sha256(password.encode()).hexdigest()


def read(path: str) -> str:
    """Return a file's text, empty where there is no file."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def by_name(text: str) -> dict[str, str]:
    """Return the lines of an aclfile by the user's name."""
    return {line.split()[1]: line for line in text.splitlines() if line.startswith("user ")}


def aclfile(users: list[dict[str, str]], before: dict[str, str]) -> str:
    """Return the text of an aclfile.

    Args:
        users: names, passwords and rules.
        before: lines by user. Their passwords stay valid.
    """
    lines = {"default": "user default reset off ~* &* +@all"}
    for user in users:
        new = digest(user["password"])
        old = [one for one in HASH.findall(before.get(user["name"], "")) if one != new]
        lines[user["name"]] = " ".join(["user", user["name"], "reset", "on", new, *old, user["rules"].strip()])
    lines |= {name: line for name, line in before.items() if name not in lines}
    return "".join(f"{line}\n" for line in lines.values())


def listens(address: str, port: int) -> bool:
    """Return whether there is a server. Raises OSError when that cannot be found out."""
    try:
        socket.create_connection((address, port), timeout=10).close()
    except ConnectionRefusedError:
        return False
    return True


class ServerError(Exception):
    """What Redis refuses, or fails at, in its own words."""


def update(address: str, port: int, users: list[dict[str, str]], text: str, retire: bool) -> bool | None:
    """Give a running server the users of an aclfile.

    Args:
        address: where the server listens.
        port: the port there.
        users: those who may be let in and administer.
        text: the aclfile.
        retire: remove the users who are not in it.

    Returns:
        Whether that changed anything; None when nobody was let in.

    Raises:
        ServerError: a rule is wrong, or the server does not answer.
    """
    # Not at the top: a dry run needs no client, and Mitogen would send a package that the host lacks from here.
    try:
        from redis.exceptions import RedisError
    except ImportError as error:
        raise ServerError(f"{missing_required_lib('redis')} On Debian: apt-get install python3-redis") from error
    try:
        client = log_in(address, port, users)
        return make_the_same(client, text, retire) if client else None
    except RedisError as error:
        raise ServerError(str(error)) from error


def log_in(address: str, port: int, users: list[dict[str, str]]) -> Any:
    """Return a connection of the first of these users who is let in and may administer; None when nobody is."""
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.exceptions import AuthenticationError, ResponseError
    from redis.retry import Retry

    once = Retry(NoBackoff(), 0)  # the library would repeat a refused login for seconds
    for user in users:
        who: dict[str, Any] = {"username": user["name"], "password": user["password"]}
        client = Redis(address, port, **who, decode_responses=True, socket_timeout=10, retry=once)
        try:
            client.acl_list()
        except (AuthenticationError, ResponseError):
            continue
        return client
    return None


def make_the_same(client: Any, text: str, retire: bool) -> bool:
    """Give a running server the users of an aclfile, and return whether that changed anything.

    Args:
        client: a connection that may administer.
        text: the aclfile.
        retire: remove the users who are not in it.
    """
    before = client.acl_list()
    wanted = by_name(text)
    for name, line in wanted.items():
        client.execute_command("ACL SETUSER", name, *line.split()[2:])
    gone = sorted(set(client.acl_users()) - wanted.keys()) if retire else []
    if gone:
        client.acl_deluser(*gone)
    return bool(client.acl_list() != before)


WORD: dict[str, Any] = {"type": "str", "required": True}
ARGUMENTS: dict[str, Any] = {
    "users": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {"name": WORD, "password": WORD | {"no_log": True}, "rules": WORD},
    },
    "retire": {"type": "bool", "default": False},
    "taken_over": {"type": "bool", "default": False},
    "address": {"type": "str", "default": "127.0.0.1"},
    "port": {"type": "int", "default": 6379},
    "file": {"type": "path", "default": "/etc/redis/users.acl"},
    "root_password": {"type": "path", "default": "/etc/redis/root.password", "no_log": False},
    "data": {"type": "path", "default": "/var/lib/redis"},
    "owner": {"type": "str", "default": "redis"},
    "unit": {"type": "str", "default": "redis-server"},
}


def main() -> None:
    """Run the module."""
    module = SilentModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
    )
    options = module.params
    root_password = read(options["root_password"]).strip()
    lost = "" if root_password else lost_by_a_start(Path(options["data"]), options["address"], options["port"])
    if lost and not (module.check_mode and (options["taken_over"] or options["retire"])):
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
        # The server first: it refuses wrong rules. With wrong rules in the file, Redis would not start again.
        server = (options["address"], options["port"])
        done = update(*server, [root, *options["users"]], text, options["retire"]) if running else False
        if done:
            result["changed"] = True
        write(acl)
        if done is None:
            subprocess.run(["systemctl", "try-restart", options["unit"]], check=True, capture_output=True)
            result.update(changed=True, restarted=True)
    except (FilesError, OSError, ServerError, subprocess.CalledProcessError) as error:
        module.fail_json(msg=f"Redis on {options['address']}:{options['port']}: {error}", **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
