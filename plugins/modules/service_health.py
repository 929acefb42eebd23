#!/usr/bin/python
# SPDX-License-Identifier: MIT
"""Ansible module: ask the services of a host whether they answer."""

from __future__ import annotations

DOCUMENTATION = r"""
module: service_health
short_description: Ask RabbitMQ, Redis, PostgreSQL, nginx and Flower of a host whether they answer
description:
  - Looks at each service that M(celery_on_hosts.platform.service_applied) has configured on the host. A service is
    healthy when its unit is active and the service answers the first message of its protocol, which needs no password.
  - nginx is also asked for the pages that it passes on. They are the layer C(front door).
  - Flower is asked where the host runs no part of the application; elsewhere C(celery-health) asks it.
options:
  timeout:
    description: Seconds that connecting, and each answer, may take.
    type: float
    default: 5
  root:
    description: The root folder of the host.
    type: path
    default: /
author:
  - Celery on Hosts
"""

EXAMPLES = r"""
- name: Ask the services
  celery_on_hosts.platform.service_health:
"""

RETURN = r"""
checks:
  description: A check for each service, as C(celery-health --json) has them.
  returned: always
  type: list
  elements: dict
  sample: [{layer: service, name: redis, ok: true, severity: ok, detail: "127.0.0.1:6379 answers", advice: ""}]
"""

import http.client
import shlex
import socket
import struct
from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_on_hosts.platform.plugins.module_utils import front_door
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.host import Host, text_of
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.names import (
    FRONT_DOOR_FILE,
    PLATFORM_FILE,
    STAMPS,
)

POSTGRESQL_SSL_REQUEST = 80877103


def ask_rabbitmq(connection: socket.socket) -> bool:
    """Return whether a broker of AMQP 0-9-1 begins the handshake."""
    connection.sendall(b"AMQP\x00\x00\x09\x01")
    return connection.recv(1) == b"\x01"  # a method frame: Connection.Start


def ask_redis(connection: socket.socket) -> bool:
    """Return whether Redis answers, which it does to strangers by asking for a password, and has loaded its data."""
    connection.sendall(b"PING\r\n")
    return connection.recv(100).startswith((b"+PONG", b"-NOAUTH"))


def ask_postgresql(connection: socket.socket) -> bool:
    """Return whether PostgreSQL says if it speaks TLS."""
    connection.sendall(struct.pack("!ii", 8, POSTGRESQL_SSL_REQUEST))
    return connection.recv(1) in (b"S", b"N")


def ask_nginx(connection: socket.socket) -> bool:
    """Return whether nginx answers, with a page or an error of its own."""
    connection.sendall(b"HEAD / HTTP/1.0\r\n\r\n")
    return connection.recv(5) == b"HTTP/"


Ask = Callable[[socket.socket], bool]
# By the beginning of a unit's name: the service, its port (None: whichever the unit has), and how it is asked.
SERVICES: dict[str, tuple[str, int | None, Ask]] = {
    "rabbitmq-server": ("rabbitmq", 5672, ask_rabbitmq),
    "redis-server": ("redis", 6379, ask_redis),
    "postgresql@": ("postgresql", 5432, ask_postgresql),
    "nginx": ("nginx", None, ask_nginx),
}


def place_of(host: Host, unit: str, port: int | None) -> tuple[str, int] | None:
    """Return an address and a port at which a unit's processes listen, loopback first; None where they do not."""
    found = []
    for one in host.listeners:
        holders = host.owners.get(one.inode, [])
        if port in (None, one.port) and (port or any(process.unit == unit for process in holders)):
            address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(one.address, one.address)  # noqa: S104  # compared
            found.append((address not in ("127.0.0.1", "::1"), one.port, address))
    return (min(found)[2], min(found)[1]) if found else None


def check(host: Host, unit: str, state: str, timeout: float) -> dict[str, Any]:
    """Return the check of a unit that the platform has configured.

    Args:
        host: the host.
        unit: its whole name.
        state: systemd's ActiveState.
        timeout: seconds.
    """
    name, port, ask = next(known for start, known in SERVICES.items() if unit.startswith(start))
    advice = f"systemctl status {unit}; journalctl --unit {unit}"
    if state != "active":
        return result(name, False, f"{unit} is {state}", f"systemctl start {unit}; {advice}")
    place = place_of(host, unit, port)
    if place is None:
        return result(
            name, False, f"{unit} is active, but listens at {f'no port {port}' if port else 'no port'}", advice
        )
    shown = f"{place[0]}:{place[1]}"
    try:
        with socket.create_connection(place, timeout) as connection:
            if ask(connection):
                return result(name, True, f"{shown} answers")
            return result(name, False, f"{shown} accepts connections, but gives no answer of {name}", advice)
    except OSError as error:
        return result(name, False, f"{shown} does not answer: {error}", advice)


def check_flower(environment: str, timeout: float) -> dict[str, Any]:
    """Return the check of Flower.

    Args:
        environment: the text of the file that Flower's settings are in.
        timeout: seconds.
    """
    settings = dict(word.split("=", 1) for word in shlex.split(environment, comments=True) if "=" in word)
    place = f"{settings['FLOWER_ADDRESS']}:{settings['FLOWER_PORT']}"
    page = f"/{settings['FLOWER_URL_PREFIX'].strip('/')}/healthcheck"
    advice = "supervisorctl status flower; its log: /var/log/celery/flower.log"
    connection = http.client.HTTPConnection(place, timeout=timeout)
    try:
        connection.request("GET", page)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return result("flower", False, f"{place} does not answer: {error}", advice)
    finally:
        connection.close()
    return result("flower", status == http.HTTPStatus.OK, f"{place}{page} answers {status}", advice)


def result(name: str, ok: bool, detail: str, advice: str = "") -> dict[str, Any]:
    """Return a check in the form of ``celery-health --json``."""
    severity = "ok" if ok else "error"
    return {"layer": "service", "name": name, "ok": ok, "severity": severity, "detail": detail, "advice": advice}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={"timeout": {"type": "float", "default": 5}, "root": {"type": "path", "default": "/"}},
        supports_check_mode=True,
    )
    host, timeout = Host(module.params["root"]), module.params["timeout"]
    units = [path.name.removesuffix(".json") for path in host.glob(f"{STAMPS}/*.json")]
    units = [unit for unit in units if unit.startswith(tuple(SERVICES))]
    asked = ["systemctl", "show", "--property=ActiveState", "--value", *units]
    states = module.run_command(asked, check_rc=True)[1].split() if units else []
    checks = [check(host, unit, state, timeout) for unit, state in zip(units, states, strict=True)]
    checks += front_door.ask(text_of(host.path(FRONT_DOOR_FILE)), timeout)
    flower = text_of(host.path("/etc/flower/environment"))
    if flower and not host.path(PLATFORM_FILE).exists():
        checks.append(check_flower(flower, timeout))
    module.exit_json(changed=False, checks=checks)


if __name__ == "__main__":
    main()
