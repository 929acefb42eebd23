# SPDX-License-Identifier: MIT
"""Check a PostgreSQL that the platform has not configured, and whether the platform is beside others there."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.conflict import Conflict
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.host import Host, settings_of
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.ports import reached
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.names import DATABASE, ORIGINALS, STAMPS
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.originals import Originals

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
PORT = "5432"
OWN_ROLES = re.compile(rf"{DATABASE}(_[0-9a-f]{{8}})?")
QUESTION = f"""
SELECT json_build_object(
  'roles', ARRAY(SELECT rolname FROM pg_roles WHERE oid >= {FIRST_USER_OID}),
  'databases', ARRAY(SELECT datname FROM pg_database WHERE oid >= {FIRST_USER_OID}),
  'superuser', (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
  'replica', pg_is_in_recovery(),
  'hba_file', current_setting('hba_file'))
"""  # noqa: S608  # of constants


class AskError(Exception):
    """Why PostgreSQL gives no answer, in psql's words."""


def psql(*words: str) -> list[str]:
    """Return the command that asks the host's PostgreSQL as its local superuser."""
    return ["runuser", "-u", "postgres", "--", "psql", "-XAtqw", "-v", "ON_ERROR_STOP=1", "-d", "postgres", *words]


def ask() -> dict[str, Any]:
    """Ask the PostgreSQL at the host's socket what it holds.

    Raises:
        AskError: it does not answer, or does not let its superuser in.
    """
    try:
        done = subprocess.run(psql("-c", QUESTION), capture_output=True, text=True, check=False, cwd="/")
    except OSError as error:
        raise AskError(error.strerror or "psql cannot be run") from error
    if done.returncode:
        raise AskError((done.stderr.strip().splitlines() or ["psql failed"])[0])
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def beside(host: Host, claimed: bool, version: str) -> bool:
    """Return whether the platform's database is, or is going to be, in a server of others.

    Args:
        host: the host.
        claimed: whether the platform has configured PostgreSQL. Then it has kept what was at the places of its files.
        version: PostgreSQL's major version.
    """
    if claimed:
        units = [path.name.removesuffix(".json") for path in host.glob(f"{STAMPS}/postgresql@*-main.service.json")]
        kept = [Originals(host.path(ORIGINALS), unit).files for unit in units]
        return any(files and not any("/conf.d/" in path for path in files) for files in kept)
    cluster = host.path(f"/etc/postgresql/{version}/main")
    if not (cluster / "postgresql.conf").exists():
        return False
    if _altered(host, cluster):
        return True
    try:
        said = ask()
    except AskError:  # an untouched cluster that does not run
        return False
    return bool(said["roles"] or said["databases"])


def check_postgresql(host: Host, service: Mapping[str, Any]) -> Iterator[Conflict]:
    """Check that a PostgreSQL which the platform has not configured can be used, and that nobody else has its port."""
    version = service["version"]
    main = host.path(f"/etc/postgresql/{version}/main")
    for path in host.glob("/etc/postgresql/*/*/postgresql.conf"):
        cluster, port = path.parent, _pg_settings(path).get("port", PORT)
        name = f"{cluster.parent.name}/{cluster.name}"
        if cluster != main and port == PORT:
            yield _conflict(
                f"the cluster {name}, which has port {PORT}",
                f"the platform's cluster {version}/main needs that port",
                f"Give it another port in {host.name(path)} and restart it.",
            )
        elif cluster == main and port != PORT:
            yield _conflict(
                f"the cluster {name}, which has port {port}",
                f"the platform's database is in this cluster, and its clients ask at port {PORT}",
                f"Give it port {PORT} in {host.name(path)} and restart it.",
            )
    if beside(host, claimed=False, version=version):
        yield from _check_server(host, service, main)


def _check_server(host: Host, service: Mapping[str, Any], cluster: Path) -> Iterator[Conflict]:
    """Check a server of others, which is to get the platform's database and login, and keeps everything else."""
    try:
        said = ask()
    except AskError as error:
        yield _conflict(
            f"a server of others, at which the account postgres cannot log in: {error}",
            "the platform could not make its database and its login there",
            "Start it, and let the account in that owns it, by pg_hba.conf: local all postgres peer",
        )
        return
    if not said["superuser"] or said["replica"]:
        yield _conflict(
            "a server of others, " + ("a replica" if said["replica"] else "whose role postgres is no superuser"),
            "the platform could not make its database and its login there",
            "Use another host for the database, or its address in celery_database_url.",
        )
    hba = cluster / "pg_hba.conf"
    if said["hba_file"] != host.name(hba) or hba.is_symlink():
        yield _conflict(
            f"a server of others, whose rules are in {said['hba_file'] if not hba.is_symlink() else hba.readlink()}",
            f"the platform writes its rules at the top of {host.name(hba)}",
            "Move the file there, and restart PostgreSQL.",
        )
    taken = [f"the database {DATABASE}"] if DATABASE in said["databases"] else []
    taken += [f"the role {name}" for name in sorted(said["roles"]) if OWN_ROLES.fullmatch(name)]
    if taken:
        yield _conflict(
            f"{' and '.join(taken)}, which the platform did not make",
            "the platform's database and login have these names",
            "Rename them (ALTER DATABASE … RENAME TO …, ALTER ROLE … RENAME TO …).",
        )
    for listen in service["listen"]:
        missing = [one for one in listen["addresses"] if not reached(host, one, listen["port"])]
        if missing:
            yield _conflict(
                f"a server of others, which does not listen at {' and '.join(missing)}, port {listen['port']}",
                "the application finds its database there, and the settings of others stay",
                "Add the address to listen_addresses in postgresql.conf, and restart PostgreSQL.",
            )


def _conflict(found: str, means: str, advice: str) -> Conflict:
    return Conflict("postgresql", found, means, advice)


def _altered(host: Host, cluster: Path) -> bool:
    """Return whether the files of a cluster show that it is in use: settings, rules of access, databases."""
    data = host.path(f"/var/lib/postgresql/{cluster.parent.name}/{cluster.name}")
    databases = (path.name for path in data.glob("base/*"))
    return (
        settings_of(cluster / "pg_hba.conf") != PG_HBA
        or settings_of(cluster / "pg_ident.conf") != []
        or not _pg_settings(cluster / "postgresql.conf").keys() <= PG_SETTINGS
        or any(cluster.glob("conf.d/*.conf"))
        or settings_of(data / "postgresql.auto.conf") != []
        or any(name.isdigit() and int(name) >= FIRST_USER_OID for name in databases)
        or any(data.glob("pg_tblspc/*"))
    )


def _pg_settings(path: Path) -> dict[str, str]:
    found = {}
    for line in settings_of(path):
        match = re.match(r"(\w+)\s*=?\s*'?([^']*)", line)
        if match:
            found[match[1].lower()] = match[2]
    return found
