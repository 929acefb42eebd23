# SPDX-License-Identifier: MIT
"""Remove the configuration of the services, and their data where that is asked for."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ansible_collections.celery_on_hosts.platform.plugins.module_utils import atomic
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.block import block_of, without_block
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts import postgresql, rabbitmq
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.host import Host, text_of
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.postgresql import FIRST_USER_OID
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.supervisor import OWN_PROGRAM
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.names import (
    DATABASE,
    RABBITMQ_DEFINITIONS,
    RABBITMQ_VHOST,
    STAMPS,
)
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.redis_client import RedisClient
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.removal.step import (
    Removal,
    RemovalError,
    present,
    remove,
    remove_if_empty,
)
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.removal.units import Unit, own_files
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.taken import TAKEN, copies_of

NGINX_DEFAULT = "/etc/nginx/sites-enabled/default"
REDIS_TAKEN = f"{TAKEN}/redis"
REDIS_SECRETS = ("/etc/redis/users.acl", "/etc/redis/root.password")  # of the module redis_users
# what Ansible makes in the home of the account postgres
ANSIBLES_IN_POSTGRESQL = ("/var/lib/postgresql/.ansible/tmp", "/var/lib/postgresql/.ansible")
REDIS_LOADS = 600  # seconds that it may take to read its data


@dataclass(frozen=True)
class Service:
    """A service of Debian's that the platform configures.

    Args:
        name: as messages say it.
        units: its units, the first of which the platform always configures. `{version}` stands for PostgreSQL's.
        package: the package that brings the unit.
        others: returns what others have there.
        data: returns the service's data on the host; None for a service without data of its own.
    """

    name: str
    units: tuple[str, ...]
    package: str
    others: Callable[[Host, Sequence[str]], list[str]]
    data: Callable[[Host, bool], list[Path]] | None = None


def _sites(host: Host, ours: Sequence[str]) -> list[str]:
    """Return nginx's files that neither its packages nor the platform made."""
    found = []
    for path in host.glob("/etc/nginx/**/*"):
        name = host.name(path)
        linked = str(path.readlink()) if path.is_symlink() else ""
        package = linked.startswith("/usr/share/nginx/") or (name == NGINX_DEFAULT and linked.endswith("/default"))
        if (path.is_symlink() or not path.is_dir()) and name not in ours and not package and host.altered(path):
            found.append(name)
    return found


def _programs(host: Host, ours: Sequence[str]) -> list[str]:
    """Return the files of supervisord's programs that are not the platform's."""
    return [host.name(path) for path in host.glob("/etc/supervisor/conf.d/*") if not OWN_PROGRAM.match(text_of(path))]


def _rotated(host: Host, ours: Sequence[str]) -> list[str]:
    """Return logrotate's rules that no package brought."""
    return [host.name(path) for path in host.glob("/etc/logrotate.d/*") if host.name(path) not in host.conffiles]


def _vhosts(host: Host, ours: Sequence[str]) -> list[str]:
    """Return the virtual hosts of the platform's RabbitMQ node that others made."""
    paths = host.glob(f"/var/lib/rabbitmq/mnesia/{_node(host)}/msg_stores/vhosts/*/.vhost")
    return [f"the virtual host {name}" for name in map(text_of, paths) if name.strip() not in ("/", RABBITMQ_VHOST)]


def _databases(host: Host, ours: Sequence[str]) -> list[str]:
    """Return how many databases others have in PostgreSQL: all but PostgreSQL's own and the platform's one."""
    paths = host.glob("/var/lib/postgresql/*/main/base/*")
    count = sum(path.name.isdigit() and int(path.name) >= FIRST_USER_OID for path in paths) - 1
    return [f"{count} more {'database' if count == 1 else 'databases'}"] if count > 0 else []


def _none(host: Host, ours: Sequence[str]) -> list[str]:
    return []


def _node(host: Host) -> str:
    """Return the name of the platform's RabbitMQ node."""
    found = re.search(r"^NODENAME=(\S+)", text_of(host.path("/etc/rabbitmq/rabbitmq-env.conf")), re.MULTILINE)
    return found[1] if found else "rabbit@localhost"


def _rabbitmq_data(host: Host, whole: bool) -> list[Path]:
    if whole:
        return host.glob("/var/lib/rabbitmq/*")
    return host.glob(f"/var/lib/rabbitmq/mnesia/{_node(host)}*") + host.glob(f"/var/log/rabbitmq/{_node(host)}*")


def _redis_data(host: Host, whole: bool) -> list[Path]:
    return host.glob("/var/lib/redis/*") + present(host, *REDIS_SECRETS)


def _postgresql_data(host: Host, whole: bool) -> list[Path]:
    return host.glob("/var/lib/postgresql/*/main")


LOGROTATE = Service("logrotate", ("logrotate.timer",), "logrotate", _rotated)
RABBITMQ = ("rabbitmq-server.service", "epmd.service", "epmd.socket")
SERVICES = (
    Service("supervisord", ("supervisor.service",), "supervisor", _programs),
    Service("nginx", ("nginx.service",), "nginx", _sites),
    Service("RabbitMQ", RABBITMQ, "rabbitmq-server", _vhosts, _rabbitmq_data),
    Service("Redis", ("redis-server.service",), "redis-server", _none, _redis_data),
    Service("PostgreSQL", ("postgresql@{version}-main.service",), "postgresql-{version}", _databases, _postgresql_data),
)


def plan_service(removal: Removal, service: Service, also: Sequence[str] = ()) -> str:
    """Plan the removal of a service, and return its package where that has to stay for others.

    Args:
        removal: the removal.
        service: the service.
        also: what others have beside what the service itself shows.
    """
    host = removal.host
    stamps = host.glob(f"{STAMPS}/{service.units[0].format(version='*')}.json")
    main = Unit(removal, stamps[0].name.removesuffix(".json")) if stamps else None
    cluster = _cluster(main.name) if main else ()
    package = service.package.format(version=cluster[0] if cluster else "")
    installed = package in removal.installed
    units = [main, *(Unit(removal, name, installed) for name in service.units[1:])] if main else []
    ours = own_files(units, removal)
    others = [*service.others(host, ours), *also]
    planned = Planned(removal, service.name, package, units, ours, others, cluster)
    if not units:
        pass
    elif service.data is None:
        planned.configuration()
    elif present(host, REDIS_TAKEN) and service.name == "Redis":
        planned.redis_given_back()
        return package
    elif cluster and postgresql.beside(host, claimed=True, version=cluster[0]):
        planned.out_of_a_postgresql()
        return package
    elif service.name == "RabbitMQ" and rabbitmq.beside(host, claimed=True):
        planned.out_of_a_rabbitmq()
        return package
    elif others:
        removal.stays.append(f"{service.name} runs on with its configuration and all its data. It has {_list(others)}.")
    elif removal.data:
        planned.all_of_it(service.data(host, package in removal.installed))
    elif any(unit.is_on() for unit in units):
        planned.stop()
    return package if others else ""


@dataclass(frozen=True)
class Planned:
    """A service that the platform configured on this host.

    Args:
        removal: the removal.
        name: as messages say it.
        package: the package that brings its unit.
        units: its units, the main one first.
        ours: its files that the platform wrote.
        others: what others have there.
        cluster: version and name of a PostgreSQL cluster.
    """

    removal: Removal
    name: str
    package: str
    units: Sequence[Unit]
    ours: Sequence[str]
    others: Sequence[str]
    cluster: tuple[str, ...]

    @property
    def installed(self) -> bool:
        """Whether the platform installed the service."""
        return self.package in self.removal.installed

    # --- without data ------------------------------------------------------------------------------------------------

    def configuration(self) -> None:
        """Plan the removal of the files and, where nobody else uses the service, of the service itself."""
        if self.others:
            after = "runs on"
            self.removal.stays.append(f"{self.name} runs on, because others have {_list(self.others)}.")
        else:
            after = "stopped and disabled" if self.installed else "as it was before the platform came"
        files = f": {_list(self.ours)}" if self.ours else ""
        unit, brings = self.units[0], {"nginx": "nginx-common"}.get(self.package, self.package)
        back = partial(unit.files_back, brings)
        self.removal.add(f"{self.name}, {after}{files}", back, self._go_on, unit.forget)

    def _go_on(self) -> None:
        unit, runs_on = self.units[0], bool(self.others) or not self.installed
        if not runs_on:
            unit.switch_off()
        elif self.name == "nginx" and not _nginx_is_sound(self.removal):
            return
        elif not self.others:
            unit.as_before()
        elif self.name == "nginx" and unit.show()[0] == "active":
            self.removal.run("systemctl", "reload", unit.name)
        elif self.name == "supervisord":  # a restart would restart the programs of others
            self.removal.notes.append(
                "supervisord was not restarted: its next start reads the host's own configuration."
            )

    # --- with data ---------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Plan the stop of a service whose configuration and data stay."""
        switched = [unit.switch_off for unit in self.units]
        what = f"{self.name}, stopped and disabled; its configuration and data stay"
        self.removal.add(what, *([self._start_by_hand] if self.cluster else []), *switched)

    def redis_given_back(self) -> None:
        """Plan that a Redis that was taken over runs with its own configuration again, and with all its keys."""
        unit, host = self.units[0], self.removal.host
        ran = text_of(host.path(REDIS_TAKEN)) == "started"
        back, again = partial(unit.files_back, self.package), partial(self._redis_as_before, ran)
        forget = partial(remove, host.path(REDIS_TAKEN))
        what = f"Redis, as it was before the platform came, with all keys that it has: {_list(self.ours)}"
        self.removal.add(what, self._save_redis, back, self._redis_files_back, again, unit.forget, forget)

    def _save_redis(self) -> None:
        """Let Redis save all its keys to its snapshot, and stop it."""
        unit = self.units[0]
        password = text_of(self.removal.host.path(REDIS_SECRETS[1])).strip()
        if not password:  # a removal that was cut off after this
            return
        self.removal.run("systemctl", "start", unit.name)
        deadline = time.monotonic() + REDIS_LOADS
        with RedisClient("127.0.0.1", 6379) as client:
            client("AUTH", "root", password)
            while client.info("persistence").get("loading") != "0":
                if time.monotonic() > deadline:
                    raise RemovalError("Redis still loads its data; remove again when it has")
                time.sleep(0.1)
            client("SAVE")
        self.removal.run("systemctl", "stop", unit.name)

    def _redis_files_back(self) -> None:
        """Leave Redis the data that its own configuration reads, and its own users."""
        host = self.removal.host
        configuration = text_of(host.path("/etc/redis/redis.conf"))
        if not re.search(r"(?m)^\s*appendonly\s+yes\b", configuration):
            remove(host.path("/var/lib/redis/appendonlydir"))
        users, password = map(host.path, REDIS_SECRETS)
        copies = copies_of(users)
        if copies:
            copies[0].replace(users)
        else:
            remove(users)
        remove(password)

    def _redis_as_before(self, ran: bool) -> None:
        unit = self.units[0]
        unit.as_before()
        self.removal.run("systemctl", "start" if ran else "stop", unit.name)

    def out_of_a_rabbitmq(self) -> None:
        """Plan that a RabbitMQ of others loses the platform's users and, with the data, its virtual host."""
        unit, users = self.units[0], "the platform's users in RabbitMQ, which runs on with those of others"
        back: list[Callable[[], object]] = [self._delete_users, partial(unit.files_back, self.package)]
        if self.removal.data:
            self.removal.add(
                f"{users}; the virtual host {RABBITMQ_VHOST} with its queues", *back, self._delete_vhost, unit.forget
            )
            return
        if present(self.removal.host, RABBITMQ_DEFINITIONS):
            self.removal.add(users, *back)
        self.removal.stays.append(
            f"The virtual host {RABBITMQ_VHOST} in RabbitMQ, which runs on, with its queues and messages. "
            "DATA=1 removes it."
        )

    def _delete_users(self) -> None:
        listed = self.removal.run(*rabbitmq.ctl("list_users", "--formatter", "json"))
        for name in (entry["user"] for entry in json.loads(listed)):
            if rabbitmq.OWN_USERS.fullmatch(name):
                self.removal.run(*rabbitmq.ctl("delete_user", name))

    def _delete_vhost(self) -> None:
        if RABBITMQ_VHOST in self.removal.run(*rabbitmq.ctl("list_vhosts", "name")).split():
            self.removal.run(*rabbitmq.ctl("delete_vhost", RABBITMQ_VHOST))

    def out_of_a_postgresql(self) -> None:
        """Plan that a PostgreSQL of others loses the platform's rules and, with the data, its database and roles."""
        unit, rules = self.units[0], self._cluster_folder / "pg_hba.conf"
        block = block_of(text_of(rules)) is not None
        own = f"the platform's rules in {self.removal.host.name(rules)}"
        without = [partial(_drop_block, rules), partial(self._reload, unit)] if block else []
        if self.removal.data:
            what = f"the database {DATABASE} and the platform's roles in PostgreSQL, which runs on with those of others"
            self.removal.add(f"{own}; {what}", *without, self._drop_database, unit.forget)
            return
        if block:
            self.removal.add(f"{own}; PostgreSQL runs on", *without)
        self.removal.stays.append(
            f"The database {DATABASE} and its roles in PostgreSQL, which runs on. DATA=1 removes them."
        )

    def _reload(self, unit: Unit) -> None:
        if unit.show()[0] == "active":
            self.removal.run("systemctl", "reload", unit.name)

    def _drop_database(self) -> None:
        """Drop the platform's database and roles."""
        ask = "SELECT rolname FROM pg_roles"
        roles = [name for name in self.removal.run(*postgresql.psql("-c", ask)).split() if _is_own_role(name)]
        drops = [f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)", *(f"DROP ROLE {name}" for name in sorted(roles))]
        self.removal.run(*postgresql.psql(*(word for drop in drops for word in ("-c", drop))))
        for path in present(self.removal.host, *ANSIBLES_IN_POSTGRESQL):
            remove_if_empty(path)

    def _start_by_hand(self) -> None:
        """Keep systemd's generator from starting a cluster with the host."""
        path = self._cluster_folder / "start.conf"
        path.write_text(re.sub(r"^auto\b", "manual", path.read_text(encoding="utf-8"), flags=re.MULTILINE))
        self.removal.run("systemctl", "daemon-reload")

    @property
    def _cluster_folder(self) -> Path:
        return self.removal.host.path("/etc/postgresql/" + "/".join(self.cluster))

    def all_of_it(self, data: Sequence[Path]) -> None:
        """Plan the removal of a service with its data.

        Args:
            data: the paths of its data.
        """
        after = "stopped" if self.installed else "as its package makes it"
        names = [self.removal.host.name(path) for path in data] + list(() if self.cluster else self.ours)
        steps: list[Callable[[], object]] = [unit.switch_off for unit in self.units]
        steps += [self._drop_cluster] if self.cluster else []
        steps += [partial(remove, path) for path in data]
        if self.cluster:
            steps += [unit.drop_ins_away for unit in self.units]
        else:
            steps += [partial(unit.files_back, self.package) for unit in self.units]
        if not self.installed:
            steps += [self._make_cluster] if self.cluster else []
            steps += [unit.as_before for unit in reversed(self.units)]
        steps += [unit.forget for unit in reversed(self.units)]
        self.removal.add(f"{self.name}, {after}; its data and configuration: {_list(names)}", *steps)

    def _drop_cluster(self) -> None:
        # pg_dropcluster leaves files that it does not know.
        for name, original in self.units[0].files.items():
            if original["state"] != "file" and self.removal.host.path(name).is_relative_to(self._cluster_folder):
                remove(self.removal.host.path(name))
        if (self._cluster_folder / "postgresql.conf").exists():
            self.removal.run("pg_dropcluster", "--stop", *self.cluster)

    def _make_cluster(self) -> None:
        if not (self._cluster_folder / "postgresql.conf").exists():
            self.removal.run("pg_createcluster", *self.cluster)


def _nginx_is_sound(removal: Removal) -> bool:
    """Test nginx's configuration, without Debian's default site where that collides with the sites of others."""
    default = removal.host.path(NGINX_DEFAULT)
    try:
        removal.run("nginx", "-t", "-q")
    except RemovalError as error:
        if not default.is_symlink():
            removal.notes.append(f"nginx was not reloaded: {error}")
            return False
        default.unlink()
        removal.notes.append(f"{NGINX_DEFAULT} was not put back: nginx refuses it beside the sites of others.")
        return _nginx_is_sound(removal)
    return True


def _is_own_role(name: str) -> bool:
    return bool(postgresql.OWN_ROLES.fullmatch(name))


def _drop_block(path: Path) -> None:
    """Remove the platform's lines from a file of others, which keeps its owner and mode."""
    info = path.stat()
    text = without_block(path.read_text(encoding="utf-8", errors="surrogateescape"))
    atomic.write(path, text, mode=info.st_mode & 0o7777, owner=(info.st_uid, info.st_gid), sync=True)


def _cluster(unit: str) -> tuple[str, ...]:
    """Return the version and the name of a unit's PostgreSQL cluster; empty for other units."""
    found = re.fullmatch(r"postgresql@(\d+)-(.+)\.service", unit)
    return found.groups() if found else ()


def _list(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
