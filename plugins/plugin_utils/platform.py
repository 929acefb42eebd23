# SPDX-License-Identifier: MIT
"""The model of a platform: what its inventory means for each host. Playbooks fill the roles' variables from it.

``describe`` returns plain data, which each host gets as its fact ``platform``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.module_utils.names import OPERATORS
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils import (
    database,
    elsewhere,
    services,
    topology,
    web,
)
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.accounts import (
    CACHE_DATABASE,
    CHANNELS_DATABASE,
    SERVICE_SECRETS,
    Accounts,
)
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.application import Application
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.programs import Programs
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.summary import summary
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.topology import Topology, address_of
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.workers import (
    Limits,
    parse_workers,
    queues_of,
)
from ansible_collections.celery_on_hosts.platform.runtime.celery_on_hosts import platform_file

FLOWER_CA = f"/etc/flower/{elsewhere.CA_FILE}"
NO_API = "http://127.0.0.1:1/api/"


@dataclass(frozen=True)
class Inventory:
    """An inventory as Ansible has read it.

    Args:
        groups: hosts by group.
        hosts: the variables of each host of the platform, evaluated, with ``ansible_facts`` where they were gathered,
            ``ansible_host``, ``group_names`` and ``inventory_dir``.
    """

    groups: Mapping[str, Sequence[str]]
    hosts: Mapping[str, Mapping[str, Any]]

    def facts(self, host: str) -> Mapping[str, Any]:
        """Return what was gathered from a host; empty where nothing was."""
        return self.hosts[host].get("ansible_facts") or {}

    def local_fact(self, host: str, name: str, key: str) -> Any:
        """Return a value of a file in a host's /etc/ansible/facts.d; None where there is none."""
        return ((self.facts(host).get("ansible_local") or {}).get(name) or {}).get(key)


class Platform:
    """What an inventory means.

    Args:
        inventory: the inventory, which preflight has checked.
        self_signed: returns the certificate of a private key (PEM, PEM).
    """

    def __init__(self, inventory: Inventory, self_signed: Callable[[str, str], str]) -> None:
        self.inventory = inventory
        self.self_signed = self_signed
        addresses = {host: address_of(host, variables) for host, variables in inventory.hosts.items()}
        self.topology = Topology.of(inventory.groups, addresses, next(iter(inventory.hosts.values())))

    @cached_property
    def service_hosts(self) -> list[str]:
        """The hosts of the brokers, the result store and the database."""
        return self.topology.hosts(topology.SERVICE_GROUPS)

    def drained(self, host: str) -> bool:
        """Return whether a host's workers are out of service."""
        return bool(self.inventory.local_fact(host, "celery", "drained"))

    def accounts(self, host: str) -> Accounts:
        """Return the accounts, as a host's variables name their credentials."""
        names = (
            *SERVICE_SECRETS,
            "celery_flower_password",
            *(["celery_cache_password"] if self.topology.cache else []),
        )
        return Accounts({name: self.inventory.hosts[host][name] for name in names})

    def programs(self, host: str) -> Programs:
        """Return the programs, as a host's variables describe the workers."""
        variables = self.inventory.hosts[host]
        workers = parse_workers(variables["celery_workers"], Limits.of(variables))
        return Programs(self.topology, tuple(workers), variables)

    def reads(self, host: str) -> list[str]:
        """Return the queues that a host's workers read: none while the host is drained."""
        if self.drained(host):
            return []
        return queues_of(self.programs(host).workers_of(host, self.inventory.hosts[host]["group_names"]))

    def readers(self) -> tuple[platform_file.Reader, ...]:
        """Return the workers of all hosts, each kind once."""
        hosts = self.topology.members["workers"]
        found = [self.programs(host).workers_of(host, self.inventory.hosts[host]["group_names"]) for host in hosts]
        return tuple(dict.fromkeys(worker.reader for workers in found for worker in workers))

    def outdated_credentials(self, hosts: Sequence[str]) -> list[str]:
        """Return those of some hosts whose services do not accept the inventory's credentials, as far as is known."""
        return [
            host
            for host in hosts
            if self.inventory.local_fact(host, "celery_passwords", "digest") != self.accounts(host).digest
        ]

    # --- one host ----------------------------------------------------------------------------------------------------

    def describe(self, host: str) -> dict[str, Any]:
        """Return the fact ``platform`` of a host."""
        topo, variables, facts = self.topology, self.inventory.hosts[host], self.inventory.facts(host)
        groups, programs, accounts = variables["group_names"], self.programs(host), self.accounts(host)
        names = programs.names_on(host, groups)
        here = topo.services(host)
        application_packages = list(variables["celery_packages"]) if "celery" in here else []
        debian = str(facts.get("distribution_major_version", ""))
        python = (facts.get("python") or {}).get("version") or {}
        return {
            "name": host,
            "address": topo.addresses[host],
            "services": here,
            "packages": sorted({*self._packages(host, here, debian), *application_packages}),
            "application_packages": application_packages,
            "apt_proxy": variables["celery_apt_proxy"],
            "claims": services.claims(topo, host, variables, debian, names),
            "python": f"{python['major']}.{python['minor']}" if python else "",
            "architecture": facts.get("architecture", ""),
            "hosts": {
                "all": topo.hosts(),
                "services": self.service_hosts,
                "programs": topo.hosts(topology.SUPERVISED_GROUPS),
                "application": topo.hosts(topology.APPLICATION_GROUPS),
            },
            "drained": self.drained(host),
            "programs": {
                "here": names,
                "all": programs.names(),
                "stop_timeout": programs.stop_timeout(),
                "after": [services.UNITS[name] for name in here if name in services.UNITS],
            },
            "reads": self.reads(host),
            "serial": list(variables["celery_serial"]),
            "credentials": {
                "digest": accounts.digest,
                "accepted": host not in self.outdated_credentials([host]),
                "packages": [name for name in services.packages(here) if name in services.CREDENTIAL_PACKAGES],
            },
            "accounts": [
                f"g {OPERATORS} -",
                'u celery - "Celery" /var/lib/celery',
                'u flower - "Flower"',
            ],
            "operators": {"group": OPERATORS, "members": list(variables["celery_operators"])},
            "summary": self.summary(host),
            **self._services(host, here),
        }

    def _packages(self, host: str, here: Sequence[str], debian: str) -> list[str]:
        """Return the Debian packages of the services that a host runs, and of the database's extensions."""
        wanted = self.inventory.hosts[host]["celery_database_extensions"] if "postgresql" in here else []
        version = services.POSTGRESQL_VERSIONS.get(debian, "")
        return sorted([*services.packages(here), *database.extension_packages(wanted, version)])

    def summary(self, host: str) -> str:
        """Return where to look after a deployment, with paths as they are typed in the current folder."""
        variables = self.inventory.hosts[host]

        def shorten(path: str) -> str:
            return path.removeprefix(f"{Path.cwd()}/")

        inventory = shorten(variables["inventory_dir"])
        return summary(
            self.topology,
            variables,
            drained=[name for name in self.topology.members["workers"] if self.drained(name)],
            secrets=shorten(variables["celery_secrets_dir"]),
            inventory="" if inventory.endswith("inventories/lab") else inventory,
        )

    def _services(self, host: str, here: Sequence[str]) -> dict[str, Any]:
        """Return the variables of the roles whose services a host runs, by role."""
        topo, variables, accounts = self.topology, self.inventory.hosts[host], self.accounts(host)
        described: dict[str, Callable[[], dict[str, Any]]] = {
            "rabbitmq": lambda: {
                "listen": topo.listen(host),
                "management_listen": topo.anywhere(host),
                "management_port": variables["celery_rabbitmq_management_port"],
                "users": accounts.rabbitmq_users(),
                "queues": variables["celery_queues"],
                "delivery_limit": variables["celery_delivery_limit"],
                "consumer_timeout": variables["celery_rabbitmq_consumer_timeout"],
            },
            "redis": lambda: {
                "listen": topo.listen(host),
                "users": accounts.redis_users(variables["celery_queues"]),
                "cache_users": accounts.cache_users() if topo.caches(host) else [],
                "cache_memory": variables["celery_cache_memory"],
            },
            "postgresql": lambda: {
                "listen": topo.listen(host),
                "allow_from": topo.database_clients(),
                "login": accounts.database_login,
                "password": accounts.secrets["celery_database_password"],
                "extensions": variables["celery_database_extensions"],
            },
            "nginx": lambda: self._nginx(host),
            "celery": lambda: Application(self, host).describe(),
            "flower": lambda: self._flower(host),
        }
        return {name: describe() for name, describe in described.items() if name in here}

    def _nginx(self, host: str) -> dict[str, Any]:
        """Return the variables of the role ``nginx``."""
        topo, variables = self.topology, self.inventory.hosts[host]

        def servers(group: str, port: int, own: str = "") -> dict[str, str]:
            return {one: topology.place(address, port) for one, address in topo.upstream(group, host, own).items()}

        # A command of the inventory's listens at one address.
        own = "" if variables["celery_web_command"] else topology.LOOPBACK
        side = web.Upstream("celery_web", servers("web", topology.WEB, own))
        flower = web.Upstream("celery_flower", servers("monitoring", topology.FLOWER), spares=True)
        name = (*web.public_names(variables), topo.members["proxy"][0])[0]
        return {
            "port": variables["celery_web_port"],
            "body_size": variables["celery_web_body_size"],
            "timeout": variables["celery_web_timeout"],
            "names": web.server_names(variables),
            "trusted_proxies": variables["celery_trusted_proxies"],
            "upstreams": [one.as_dict() for one in (side, flower) if len(one.servers) > 1],
            "locations": web.locations(variables, side.backend, flower.backend),
            "checks": [
                *side.checks("web", variables["celery_web_health_path"], name, 500),
                *flower.checks("flower", "/flower/healthcheck", name, 400),
            ],
        }

    def _flower(self, host: str) -> dict[str, Any]:
        """Return the variables of the role ``flower``."""
        topo, variables = self.topology, self.inventory.hosts[host]
        return {
            "bind": topo.bind("monitoring", host),
            "broker_url": self.broker_url(host, "flower"),
            "broker_api": self._management_url(host) if topo.broker == "rabbitmq" else "",
            "broker_tls": elsewhere.tls_options(
                elsewhere.url_of(variables, "brokers"), FLOWER_CA if variables["celery_services_ca"] else ""
            ),
            "authorities": variables["celery_services_ca"],
            "password": variables["celery_flower_password"],
        }

    # --- addresses with credentials ----------------------------------------------------------------------------------

    def broker_url(self, host: str, client: str = "app") -> str:
        """Return the broker's address for a client on a host: 'app' or 'flower'."""
        topo, given = self.topology, elsewhere.url_of(self.inventory.hosts[host], "brokers")
        return given or self.accounts(host).broker_url(topo.broker, topo.endpoints("brokers", host)[0], client)

    def result_url(self, host: str) -> str:
        """Return the address of the result store for the application on a host."""
        given = elsewhere.url_of(self.inventory.hosts[host], "results")
        return given or self.accounts(host).result_url(self.topology.endpoints("results", host)[0])

    def database_url(self, host: str) -> str:
        """Return the address of the database for the application on a host; empty where there is none."""
        topo, given = self.topology, elsewhere.url_of(self.inventory.hosts[host], "database")
        if given or not topo.runs("database"):
            return given
        scheme = self.inventory.hosts[host]["celery_database_scheme"]
        return self.accounts(host).database_url(topo.endpoints("database", host)[0], scheme)

    def cache_environment(self, host: str) -> dict[str, str]:
        """Return how the application on a host finds its cache and its channels; empty where there is no cache."""
        if not self.topology.cache:
            return {}
        accounts, where = self.accounts(host), self.topology.endpoints("results", host)[0]
        return {
            "CACHE_URL": accounts.cache_url(where, CACHE_DATABASE),
            "CHANNELS_URL": accounts.cache_url(where, CHANNELS_DATABASE),
        }

    def _management_url(self, host: str) -> str:
        """Return the address of RabbitMQ's management API for Flower on a host.

        Where it is not known, an address where nobody listens: Flower would send the password to port 15672 of the
        broker, without TLS.
        """
        topo, variables = self.topology, self.inventory.hosts[host]
        if "brokers" in topo.elsewhere:
            return str(variables["celery_broker_api_url"] or NO_API)
        port = variables["celery_rabbitmq_management_port"]
        return self.accounts(host).management_url(topo.endpoints("brokers", host)[0], port)
