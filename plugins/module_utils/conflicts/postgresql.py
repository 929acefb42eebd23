# SPDX-License-Identifier: MIT
"""Check a PostgreSQL that the platform has not configured."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.conflict import Conflict
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.host import Host, settings_of

# The lines that pg_createcluster writes, without comments and repeated spaces.
PG_HBA = [
    "local all postgres peer",
    "local all all peer",
    "host all all 127.0.0.1/32 scram-sha-256",
    "host all all ::1/128 scram-sha-256",
    "local replication all peer",
    "host replication all 127.0.0.1/32 scram-sha-256",
    "host replication all ::1/128 scram-sha-256",
]
PG_SETTINGS = {
    *("data_directory", "hba_file", "ident_file", "external_pid_file", "port", "max_connections"),
    *("unix_socket_directories", "ssl", "ssl_cert_file", "ssl_key_file", "shared_buffers", "max_wal_size"),
    *("dynamic_shared_memory_type", "min_wal_size", "log_line_prefix", "log_timezone", "cluster_name", "datestyle"),
    *("timezone", "lc_messages", "lc_monetary", "lc_numeric", "lc_time", "default_text_search_config", "include_dir"),
    "stats_temp_directory",
}
FIRST_USER_OID = 16384  # PostgreSQL's own objects have lower numbers


def check_postgresql(host: Host, service: Mapping[str, Any]) -> Iterator[Conflict]:
    """Check the PostgreSQL cluster that the platform would run and has not configured, and others at its port."""
    port = str(service["listen"][0]["port"]) if service["listen"] else "5432"
    version = service["version"]
    drop = (
        "Move what it holds to another server (pg_dumpall), then make it anew: "
        f"pg_dropcluster --stop {version} main && pg_createcluster {version} main"
    )
    for path in host.glob("/etc/postgresql/*/*/postgresql.conf"):
        cluster, settings = path.parent, _pg_settings(path)
        name = f"{cluster.parent.name}/{cluster.name}"
        if name != f"{version}/main":
            if settings.get("port", "5432") == port:
                yield Conflict(
                    "postgresql",
                    f"the cluster {name}, which has port {port}",
                    f"the platform's cluster {version}/main needs that port",
                    f"Give it another port in {host.name(path)} and restart it.",
                )
            continue
        replaced = "the deployment would replace it"
        beside = "the platform's server would run with it"
        changed = "changed since pg_createcluster made it"
        if settings_of(cluster / "pg_hba.conf") != PG_HBA:
            yield Conflict("postgresql", f"{host.name(cluster / 'pg_hba.conf')}, {changed}", replaced, drop)
        if settings_of(cluster / "pg_ident.conf"):
            yield Conflict("postgresql", f"{host.name(cluster / 'pg_ident.conf')}, {changed}", replaced, drop)
        if settings.keys() - PG_SETTINGS or settings.get("port") != port:
            yield Conflict("postgresql", f"{host.name(path)}, {changed}", beside, drop)
        for more in sorted(cluster.glob("conf.d/*.conf")):
            yield Conflict("postgresql", f"{host.name(more)}, not from a package", beside, drop)
    yield from _check_databases(host, version, drop)


def _check_databases(host: Host, version: str, drop: str) -> Iterator[Conflict]:
    """Check the data of a PostgreSQL cluster: settings of ALTER SYSTEM, and databases."""
    data = host.path(f"/var/lib/postgresql/{version}/main")
    if settings_of(data / "postgresql.auto.conf"):
        auto = f"{host.name(data / 'postgresql.auto.conf')}, with settings of ALTER SYSTEM"
        yield Conflict(
            "postgresql", auto, "the platform's server would run with it", "Undo them: ALTER SYSTEM RESET ALL"
        )
    databases = [path for path in data.glob("base/*") if path.name.isdigit() and int(path.name) >= FIRST_USER_OID]
    if databases or any(data.glob("pg_tblspc/*")):
        yield Conflict(
            "postgresql",
            f"{host.name(data)} with {len(databases)} {'database' if len(databases) == 1 else 'databases'} "
            "beside PostgreSQL's own",
            "the platform's pg_hba.conf lets nobody but the platform's application and root in",
            drop,
        )


def _pg_settings(path: Path) -> dict[str, str]:
    found = {}
    for line in settings_of(path):
        match = re.match(r"(\w+)\s*=?\s*'?([^']*)", line)
        if match:
            found[match[1].lower()] = match[2]
    return found
