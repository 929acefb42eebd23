# SPDX-License-Identifier: MIT
"""Check a RabbitMQ that the platform has not configured, and whether the platform is beside others there."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.conflict import Conflict
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.host import Host, settings_of, text_of
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.ports import ANY, reached
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.names import (
    ORIGINALS,
    RABBITMQ_DEFINITIONS,
    RABBITMQ_VHOST,
)
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.originals import Originals

UNIT = "rabbitmq-server.service"
OWN_USERS = re.compile(r"operator|(celery|flower)_[0-9a-f]{8}")
OLDEST = (3, 10)  # quorum queues that dead-letter at least once
TIMEOUT_BY_POLICY = (3, 12)  # before, consumer_timeout is one for all queues
FEATURES = ("quorum_queue", "stream_queue")
MANAGEMENT = "rabbitmq_management"
INTERNAL = "rabbit_auth_backend_internal"
QUESTION = """
io:put_chars([rabbit_json:encode(#{
  version => rabbit_data_coercion:to_binary(rabbit:product_version()),
  vhosts => rabbit_vhost:list_names(),
  users => [rabbit_data_coercion:to_binary(proplists:get_value(user, U))
            || U <- rabbit_auth_backend_internal:list_users()],
  nodes => length(case erlang:function_exported(rabbit_nodes, list_members, 0) of
                    true -> rabbit_nodes:list_members();
                    false -> rabbit_nodes:all()
                  end),
  features => [F || F <- [quorum_queue, stream_queue], rabbit_feature_flags:is_enabled(F)],
  plugins => rabbit_plugins:active(),
  internal => lists:member(rabbit_auth_backend_internal,
                           lists:flatten([tuple_to_list({B}) || B <- application:get_env(rabbit, auth_backends, [])])),
  timeout => case application:get_env(rabbit, consumer_timeout) of
               {ok, T} when is_integer(T) -> T;
               _ -> 0
             end
}), 10]).
"""


class AskError(Exception):
    """Why RabbitMQ gives no answer, in rabbitmqctl's words."""


def ctl(*words: str) -> list[str]:
    """Return the command that asks the host's RabbitMQ; rabbitmqctl reads the node's name where the node does."""
    return ["rabbitmqctl", "--silent", *words]


def ask() -> dict[str, Any]:
    """Ask the host's RabbitMQ what it holds.

    Raises:
        AskError: it does not answer.
    """
    try:
        done = subprocess.run(
            ctl("eval", QUESTION), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, cwd="/"
        )
    except OSError as error:
        raise AskError(error.strerror or "rabbitmqctl cannot be run") from error
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    try:
        found: dict[str, Any] = json.loads(lines[0])
    except (IndexError, ValueError) as error:
        raise AskError(lines[0] if lines else "rabbitmqctl failed") from error
    return found


def version_of(host: Host) -> str:
    """Return the version of the host's RabbitMQ; empty where there is none, or more than one."""
    found = host.glob("/usr/lib/rabbitmq/lib/rabbitmq_server-*")
    return found[0].name.partition("-")[2] if len(found) == 1 else ""


def parts(version: str) -> tuple[int, ...]:
    """Return a version as numbers to compare."""
    return tuple(map(int, re.findall(r"\d+", version)[:2]))


def timeout_by_policy(version: str) -> bool:
    """Return whether a policy may set the time that a delivery may stay unacknowledged."""
    return parts(version) >= TIMEOUT_BY_POLICY


def beside(host: Host, claimed: bool) -> bool:
    """Return whether the platform's virtual host is, or is going to be, in a RabbitMQ of others.

    Args:
        host: the host.
        claimed: whether the platform has configured RabbitMQ. Then it has kept what was at the places of its files.
    """
    if claimed:
        return RABBITMQ_DEFINITIONS in Originals(host.path(ORIGINALS), UNIT).files
    return bool(_in_use(host))


def check_rabbitmq(host: Host, service: Mapping[str, Any]) -> Iterator[Conflict]:
    """Check that a RabbitMQ of others can get the platform's virtual host, and keeps everything else."""
    used = _in_use(host)
    if not used:
        return
    try:
        said = ask()
    except AskError as error:
        yield Conflict(
            "rabbitmq",
            f"{' and '.join(used)}, of a RabbitMQ that does not answer: {error}",
            "the platform could not make its virtual host and its users there",
            "Start it: systemctl start rabbitmq-server. If nobody needs it, back up its definitions (rabbitmqctl "
            "export_definitions), /etc/rabbitmq and what its queues hold, then remove it with its data: apt-get purge "
            "rabbitmq-server",
        )
        return
    wanted = service.get("consumer_timeout") or 0
    for found, means, advice in (*_unfit(said, wanted), *_taken(said), *_unreachable(host, service, said)):
        yield Conflict("rabbitmq", f"a RabbitMQ of others ({used[0]}), {found}", means, advice)


def _unfit(said: Mapping[str, Any], wanted: int) -> Iterator[tuple[str, str, str]]:
    """Return what a RabbitMQ lacks that the platform's queues and users need."""
    elsewhere = "Use another host for the broker, or the address of a broker in celery_broker_url."
    if parts(said["version"]) < OLDEST:
        yield (
            f"whose version is {said['version']}",
            "before 3.10, a quorum queue may lose a message that is dead-lettered",
            f"{elsewhere} Or upgrade it to 3.10 or later.",
        )
        return
    if said["nodes"] > 1:
        yield (
            f"which is a node of a cluster of {said['nodes']}",
            "policies and users are the cluster's, and the platform tries its work with one node alone",
            "Use another host for the broker, or the cluster's address in celery_broker_url.",
        )
    if missing := [name for name in FEATURES if name not in said["features"]]:
        yield (
            f"in which the feature flags {' and '.join(missing)} are disabled",
            "the platform's queues need them",
            f"Enable them: rabbitmqctl enable_feature_flag {missing[0]}",
        )
    if not said["internal"]:
        yield (
            f"which asks another service for its users (no {INTERNAL} in auth_backends)",
            "the platform's users could not log in",
            f"{elsewhere} Or add the backend internal to auth_backends in rabbitmq.conf.",
        )
    if not timeout_by_policy(said["version"]) and 0 < said["timeout"] < wanted * 1000:
        yield (
            f"in which a delivery may stay unacknowledged for {said['timeout'] // 1000} s",
            f"a task may run for {wanted} s (celery_rabbitmq_consumer_timeout): RabbitMQ would close the worker's "
            "connection, and before 3.12 no policy can say otherwise",
            f"Set consumer_timeout = {wanted * 1000} in rabbitmq.conf and restart RabbitMQ, or set "
            f"celery_rabbitmq_consumer_timeout: {said['timeout'] // 1000}",
        )


def _taken(said: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Return the platform's names that somebody else has in a RabbitMQ."""
    found = [f"the virtual host {RABBITMQ_VHOST}"] if RABBITMQ_VHOST in said["vhosts"] else []
    found += [f"the user {name}" for name in sorted(said["users"]) if OWN_USERS.fullmatch(name)]
    if found:
        yield (
            f"with {' and '.join(found)}, which the platform did not make",
            "the platform's virtual host and users have these names",
            "Give them other names, or use another host for the broker.",
        )


def _unreachable(host: Host, service: Mapping[str, Any], said: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Return the addresses at which the platform's clients would not find a RabbitMQ, or its management API."""
    if MANAGEMENT not in said["plugins"]:
        yield (
            f"without the plugin {MANAGEMENT}",
            "Flower and operators ask it for queues",
            f"Enable it, which needs no restart: rabbitmq-plugins enable {MANAGEMENT}",
        )
    if not service["listen"]:
        return
    clients, *others = service["listen"]
    for port, setting in [(clients["port"], "listeners.tcp")] + [
        (one["port"], "management.tcp") for one in others[:1] if MANAGEMENT in said["plugins"]
    ]:
        missing = [one for one in clients["addresses"] if not (reached(host, one, port) or reached(host, ANY[1], port))]
        if missing:
            yield (
                f"which does not listen at {' and '.join(missing)}, port {port}",
                "the platform's clients find RabbitMQ there, and the settings of others stay",
                f"Add the address ({setting} in rabbitmq.conf) and restart RabbitMQ"
                + (", or set celery_rabbitmq_management_port." if setting == "management.tcp" else "."),
            )


def _in_use(host: Host) -> list[str]:
    """Return what a host's RabbitMQ has that neither the platform nor the untouched package made.

    Debian's package makes a rabbitmq-env.conf with comments only, and a node with the virtual host `/` and the user
    guest. In a node's folder, each virtual host and each classic queue has a file with its name, each quorum queue and
    each stream has a folder, and users' names are readable in the table of users or in the latest log.
    """
    found = []
    for path in host.glob("/etc/rabbitmq/**/*"):
        own = path.name == "rabbitmq-env.conf"
        if not path.is_dir() and not (own and not settings_of(path)) and host.altered(path):
            found.append(f"{host.name(path)}, {'changed since' if own else 'not from'} the package")
    for node in host.glob("/var/lib/rabbitmq/mnesia/*"):
        held = _held(node) if node.is_dir() else []
        if held:
            found.append(f"{host.name(node)} with {', '.join(held)}")
    return found


def _held(node: Path) -> list[str]:
    """Return what a RabbitMQ node holds that a new node does not."""
    vhosts = [text_of(path).strip() for path in sorted(node.glob("msg_stores/vhosts/*/.vhost"))]
    found = [f"the virtual host {name}" for name in vhosts if name != "/"]
    found += [f"the user {name}" for name in _users(node) if name != "guest"]
    queues = list(node.glob("msg_stores/vhosts/*/queues/*"))
    queues += [path for path in node.glob("quorum/*/*") if path.is_dir()]
    queues += [path for path in node.glob("stream/*") if path.is_dir()]
    return found + ([f"{len(queues)} {'queue' if len(queues) == 1 else 'queues'}"] if queues else [])


def _users(node: Path) -> list[str]:
    found: dict[str, None] = {}
    for path in (*sorted(node.glob("rabbit_user.DC[DL]")), node / "LATEST.LOG"):
        data = path.read_bytes() if path.is_file() else b""
        for match in re.finditer(
            rb"\rinternal_userm(.{4})", data, re.DOTALL
        ):  # an Erlang record: its tag, its first text
            name = data[match.end() : match.end() + int.from_bytes(match[1], "big")]
            found[name.decode(errors="replace")] = None
    return list(found)
