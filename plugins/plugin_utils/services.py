# SPDX-License-Identifier: MIT
"""Say of each service which Debian packages it needs, where it listens, and which files and programs are its own.

A new service, or another port of a service, is added here. Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.module_utils.names import (
    CELERY_FILES,
    CELERY_ROOT,
    FLOWER_FILES,
    FLOWER_ROOT,
    HOMES,
)
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils import topology
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils import web as front
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.topology import LOOPBACK, Topology

PACKAGES = {
    "rabbitmq": ["rabbitmq-server", "logrotate"],
    "redis": ["redis-server", "python3-redis", "logrotate"],
    "postgresql": ["postgresql", "python3-psycopg2", "logrotate"],
    "nginx": ["nginx", "logrotate"],
    "supervisor": ["supervisor"],
}
# the systemd units of services that programs of the same host need
UNITS = {
    "rabbitmq": "rabbitmq-server.service",
    "redis": "redis-server.service",
    "postgresql": "postgresql.service",
}
# the services of Debian that keep credentials
TAKEN_OVER = ("redis",)  # the services that may replace those of others, with consent
CREDENTIAL_PACKAGES = ("rabbitmq-server", "redis-server", "postgresql")
POSTGRESQL_VERSIONS = {"12": "15", "13": "17"}  # by Debian's release


def packages(services: Iterable[str]) -> list[str]:
    """Return the Debian packages that some services need, sorted."""
    return sorted({package for service in services for package in PACKAGES.get(service, ())})


def missing_packages(dpkg: str, wanted: Sequence[str]) -> list[str]:
    """Return those of some packages that are not installed, and that no installed package provides.

    Args:
        dpkg: lines of `PACKAGE STATUS PROVIDES`, as `dpkg-query --showformat '${Package} ${db:Status-Status}
            ${Provides}\\n'` prints them. What a package provides is optional.
        wanted: the packages.
    """
    installed: set[str] = set()
    for line in dpkg.splitlines():
        name, status, provides = (*line.split(maxsplit=2), "", "", "")[:3]
        if status == "installed":
            installed |= {name, *(one.split(maxsplit=1)[0] for one in provides.split(",") if one.strip())}
    return [package for package in wanted if package not in installed]


def claims(
    topo: Topology, host: str, variables: Mapping[str, Any], debian: str, programs: Sequence[str]
) -> list[dict[str, Any]]:
    """Return what each service of a host is going to take, as the module ``host_conflicts`` asks for it.

    Args:
        topo: the platform's hosts.
        host: the host.
        variables: ``celery_rabbitmq_management_port``, ``celery_rabbitmq_consumer_timeout``, ``celery_web_port``,
            ``celery_take_over`` and those of the web side's names.
        debian: the major version of the host's Debian.
        programs: the host's supervisord programs.
    """
    listen = topo.listen(host)
    web = [{"port": topology.WEB, "addresses": topo.web_binds(host)}] if topo.has(host, "web") else []
    claimed: dict[str, dict[str, Any]] = {
        "rabbitmq": {
            "consumer_timeout": variables["celery_rabbitmq_consumer_timeout"],
            "listen": [
                {"port": topology.AMQP, "addresses": listen},
                {"port": variables["celery_rabbitmq_management_port"], "addresses": [topo.anywhere(host)]},
                {"port": topology.ERLANG_DISTRIBUTION, "addresses": [LOOPBACK]},
                {"port": topology.ERLANG_PORT_MAPPER, "addresses": [LOOPBACK]},
            ],
        },
        "redis": {"listen": [{"port": topology.REDIS, "addresses": listen}]},
        "cache": {"listen": [{"port": topology.CACHE, "addresses": listen}]},
        "postgresql": {
            "version": POSTGRESQL_VERSIONS.get(debian, ""),
            "listen": [{"port": topology.POSTGRESQL, "addresses": listen}],
        },
        "nginx": {
            "listen": [{"port": variables["celery_web_port"], "addresses": list(topology.ANYWHERE)}],
            "names": front.server_names(variables),
        },
        "supervisor": {"programs": list(programs)},
        "celery": {"root": CELERY_ROOT, "home": HOMES["celery"], "files": list(CELERY_FILES), "listen": web},
        "flower": {
            "root": FLOWER_ROOT,
            "home": HOMES["flower"],
            "files": list(FLOWER_FILES),
            "listen": [{"port": topology.FLOWER, "addresses": [topo.bind("monitoring", host)]}],
        },
    }
    names = topo.services(host)
    if topo.caches(host):
        names.insert(names.index("redis") + 1, "cache")
    taken = {name: {"take_over": True} for name in variables["celery_take_over"]}
    return [{"name": name, **claimed[name], **taken.get(name, {})} for name in names]
