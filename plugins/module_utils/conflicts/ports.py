# SPDX-License-Identifier: MIT
"""Check that nobody else listens where a service will."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.conflict import Conflict
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.host import Host

ANY = ("0.0.0.0", "::")  # noqa: S104  # compared with, not listened at


@dataclass(frozen=True)
class Owner:
    """Who may listen at a service's ports.

    Args:
        units: in which units.
        account: as which account, where the unit does not tell.
    """

    units: tuple[str, ...]
    account: str = ""


def collide(address: str, other: str) -> bool:
    """Return whether two sockets at these addresses cannot have one port."""
    return address == other or "::" in (address, other) or (ANY[0] in (address, other) and ":" not in address + other)


def reached(host: Host, address: str, port: int) -> bool:
    """Return whether somebody listens at a port of an address, or of all addresses of its kind."""
    everywhere = ANY[1] if ":" in address else ANY[0]
    return any(one.port == port and one.address in (address, everywhere) for one in host.listeners)


def check_ports(host: Host, service: Mapping[str, Any], owner: Owner, claimed: bool) -> Iterator[Conflict]:
    """Check that nobody else listens where a service will.

    Where the owner of a socket cannot be seen, a service that the platform runs is taken for the owner.
    """
    uid = host.accounts.get(owner.account, (None,))[0]
    for listen in service["listen"]:
        port = listen["port"]
        taken = [
            one
            for one in host.listeners
            if one.port == port and any(collide(one.address, address) for address in listen["addresses"])
        ]
        seen: set[str] = set()
        for one in taken:
            ours = uid is not None and one.uid == uid
            if ours and claimed:
                continue
            holders = host.owners.get(one.inode, [])
            if claimed and not holders:
                continue
            if any(process.unit in owner.units for process in holders) and (ours or not owner.account):
                continue
            seen.add(str(holders[0]) if holders else f"a process of the user {one.uid} that /proc does not show")
        for who in sorted(seen):
            yield Conflict(
                service["name"],
                f"port {port}, at which {who} listens",
                "two programs cannot listen at one port",
                "Stop it and keep it from starting at boot, or let it listen at another port.",
            )
