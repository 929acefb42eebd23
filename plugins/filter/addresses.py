"""Jinja filter that says where hosts are found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def host_addresses(hosts: Iterable[str], hostvars: Mapping[str, Any]) -> dict[str, str]:
    """The address of each host: ``celery_address`` where it is set, else the one gathered, else Ansible's own.

    Args:
        hosts: names of the inventory.
        hostvars: Ansible's variables of all hosts.
    """
    found = {}
    for host in hosts:
        known = hostvars[host]
        gathered = (known.get("ansible_facts") or {}).get("default_ipv4") or {}
        found[host] = str(known.get("celery_address") or gathered.get("address") or known.get("ansible_host") or host)
    return found


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Any]:
        """The filters by name."""
        return {"host_addresses": host_addresses}
