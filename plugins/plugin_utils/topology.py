# SPDX-License-Identifier: MIT
"""Say which hosts run what, where each service listens, and at which address its clients find it.

The groups of the inventory decide, and nothing else. Standard library only.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.elsewhere import elsewhere

GROUPS = ("brokers", "results", "database", "workers", "beat", "web", "monitoring", "proxy")
SERVICE_GROUPS = ("brokers", "results", "database")
APPLICATION_GROUPS = ("workers", "beat", "web")
SUPERVISED_GROUPS = (*APPLICATION_GROUPS, "monitoring")
# groups that may be left out, and the switch of what their hosts run
SWITCHES = {
    "beat": "celery_beat_enabled",
    "web": "celery_web_enabled",
    "database": "celery_database_enabled",
    "monitoring": "celery_flower_enabled",
}
LOOPBACK = "127.0.0.1"
ANYWHERE = ("0.0.0.0", "::")  # noqa: S104  # the front door

# The port of each service; of RabbitMQ's management page and of the front door the inventory decides.
AMQP, ERLANG_DISTRIBUTION, ERLANG_PORT_MAPPER, REDIS, CACHE, POSTGRESQL, WEB, FLOWER = (
    5672,
    25672,
    4369,
    6379,
    6380,
    5432,
    8000,
    5555,
)


@dataclass(frozen=True)
class Topology:
    """The hosts of a platform.

    Args:
        members: the hosts of each group in ``GROUPS``; no host for a group that the inventory leaves out.
        addresses: the network address of each host.
        broker: 'rabbitmq' or 'redis'.
        enabled: the groups of ``SWITCHES`` whose part is switched on.
        elsewhere: the groups whose service the platform uses and does not run.
        cache: whether the result store's host runs a second Redis, for the application's cache.
    """

    members: Mapping[str, tuple[str, ...]]
    addresses: Mapping[str, str]
    broker: str = "rabbitmq"
    enabled: frozenset[str] = frozenset(SWITCHES)
    elsewhere: frozenset[str] = frozenset()
    cache: bool = False

    @classmethod
    def of(
        cls, groups: Mapping[str, Sequence[str]], addresses: Mapping[str, str], variables: Mapping[str, Any]
    ) -> Topology:
        """Return the topology of an inventory.

        Args:
            groups: hosts by group, also groups that the platform does not know.
            addresses: the network address of each host.
            variables: variables that are the same on all hosts: ``celery_broker``, those of ``SWITCHES``, the addresses
                of services elsewhere, and ``celery_cache_enabled``.
        """
        members = {name: tuple(groups.get(name, ())) for name in GROUPS}
        enabled = frozenset(group for group, switch in SWITCHES.items() if variables[switch])
        cache = bool(variables.get("celery_cache_enabled"))
        return cls(members, addresses, variables["celery_broker"], enabled, elsewhere(variables), cache)

    def hosts(self, groups: Iterable[str] = GROUPS) -> list[str]:
        """Return the hosts of some groups, each once, in the order of the groups."""
        return list(dict.fromkeys(host for group in groups for host in self.members[group]))

    @property
    def alone(self) -> bool:
        """Whether one host runs everything."""
        return len(self.hosts()) == 1

    def has(self, host: str, group: str) -> bool:
        """Return whether a host runs a group's part: the part is switched on, and the host is in the group."""
        return host in self.members[group] and (group in self.enabled or group not in SWITCHES)

    def runs(self, group: str) -> bool:
        """Return whether any host runs a group's part."""
        return any(self.has(host, group) for host in self.members[group])

    def has_any(self, host: str, groups: Iterable[str]) -> bool:
        """Return whether a host is in one of some groups."""
        return any(host in self.members[group] for group in groups)

    def caches(self, host: str) -> bool:
        """Return whether a host runs the application's cache."""
        return self.cache and host in self.members["results"]

    def services(self, host: str) -> list[str]:
        """Return the names of the services that a host runs, in the order in which they start."""
        redis = host in self.members["results"] or (self.broker == "redis" and host in self.members["brokers"])
        here = {
            "rabbitmq": self.broker == "rabbitmq" and host in self.members["brokers"],
            "redis": redis,
            "postgresql": self.has(host, "database"),
            "nginx": host in self.members["proxy"],
            "supervisor": self.has_any(host, SUPERVISED_GROUPS),
            "celery": self.has_any(host, APPLICATION_GROUPS),
            "flower": self.has(host, "monitoring"),
        }
        return [name for name, runs in here.items() if runs]

    # --- where services listen, and where clients find them --------------------------------------------------------

    def listen(self, host: str) -> list[str]:
        """Return the addresses at which a host's broker, result store and database listen."""
        return [LOOPBACK] if self.alone else [LOOPBACK, self.addresses[host]]

    def anywhere(self, host: str) -> str:
        """Return the address that stands for all addresses of a host: of IPv6 and IPv4 where its own one is IPv6."""
        return ANYWHERE[":" in self.addresses[host]]

    def endpoints(self, group: str, client: str) -> list[str]:
        """Return the addresses at which a client finds a group's service: loopback where it runs on the same host."""
        members = self.members[group]
        return [LOOPBACK] if client in members else [self.addresses[host] for host in members]

    def bind(self, group: str, host: str) -> str:
        """Return the address at which gunicorn (group web) or Flower (group monitoring) listens on a host.

        An address of the network only where nginx, on another host, has to reach it.
        """
        return self.addresses[host] if set(self.members["proxy"]) - {host} else LOOPBACK

    def web_binds(self, host: str) -> list[str]:
        """Return all addresses at which gunicorn listens on a host.

        The host's own nginx always asks at loopback, so nginx goes on while other proxies come and go.
        """
        address = self.bind("web", host)
        return [address, *([LOOPBACK] if address != LOOPBACK and host in self.members["proxy"] else [])]

    def upstream(self, group: str, proxy: str, own: str = "") -> dict[str, str]:
        """Return the address at which a host's nginx finds gunicorn or Flower of each host, its own host's first.

        Args:
            group: web or monitoring.
            proxy: the host whose nginx asks.
            own: the address on the nginx's own host, where that is another than other hosts ask at.
        """
        here = sorted((host for host in self.members[group] if self.has(host, group)), key=lambda host: host != proxy)
        return {host: (host == proxy and own) or self.bind(group, host) for host in here}

    def database_clients(self) -> list[str]:
        """Return the networks from which PostgreSQL lets the application in."""
        local = f"{LOOPBACK}/32"
        if self.alone:
            return [local]
        return sorted({local} | {_network(self.addresses[host]) for host in self.hosts(APPLICATION_GROUPS)})


def place(address: str, port: int) -> str:
    """Return an address with a port as URLs, gunicorn and nginx read them: an IPv6 address is in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _network(address: str) -> str:
    """Return an IP address as a network of one; a host name stays as it is."""
    try:
        return str(ipaddress.ip_network(address))
    except ValueError:
        return address


def address_of(host: str, variables: Mapping[str, Any]) -> str:
    """Return a host's network address: ``celery_address``, else the gathered address, else ``ansible_host``.

    The gathered address is that of the default route: IPv4, or IPv6 on a host without IPv4.

    Args:
        host: the host's name in the inventory.
        variables: the host's variables, with ``ansible_facts`` where they were gathered.
    """
    facts = variables.get("ansible_facts") or {}
    gathered = [(facts.get(name) or {}).get("address") for name in ("default_ipv4", "default_ipv6")]
    return str(variables.get("celery_address") or gathered[0] or gathered[1] or variables.get("ansible_host") or host)
