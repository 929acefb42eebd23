# SPDX-License-Identifier: MIT
"""Check a RabbitMQ that the platform has not configured."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.conflict import Conflict
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.host import Host, settings_of, text_of


def check_rabbitmq(host: Host, service: Mapping[str, Any]) -> Iterator[Conflict]:
    """Check a RabbitMQ that the platform has not configured.

    Debian's package makes a rabbitmq-env.conf with comments only, and a node with the virtual host `/` and the user
    guest. In a node's folder, each virtual host and each classic queue has a file with its name, each quorum queue and
    each stream has a folder, and users' names are readable in the table of users or in the latest log.
    """
    purge = (
        "Back up its definitions (rabbitmqctl export_definitions), /etc/rabbitmq and what its queues hold, then remove "
        "it with its data: apt-get purge rabbitmq-server"
    )
    for path in host.glob("/etc/rabbitmq/**/*"):
        made = path.name == "rabbitmq-env.conf" and not settings_of(path)
        if not path.is_dir() and not made and host.altered(path):
            yield Conflict(
                "rabbitmq",
                f"{host.name(path)}, {'changed since' if path.name == 'rabbitmq-env.conf' else 'not from'} the package",
                "the deployment would replace it, or RabbitMQ would run with it beside the platform's settings",
                purge,
            )
    for node in host.glob("/var/lib/rabbitmq/mnesia/*"):
        held = _held(node) if node.is_dir() else []
        if held:
            yield Conflict(
                "rabbitmq",
                f"{host.name(node)} with {', '.join(held)}",
                "the platform's node has a name and a folder of its own: these would not be served any more",
                purge,
            )


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
