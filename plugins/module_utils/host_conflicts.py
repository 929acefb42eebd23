# SPDX-License-Identifier: MIT
"""Find what on a host a deployment would overwrite or collide with, and what is neither the platform's nor a package's.

A service belongs to the platform when the module ``service_applied`` has a stamp of its unit: the stamp is there from
before the first file is written. The application and Flower belong to the platform when their folder below ``/opt``
holds the packages of a release. All that such a service has is the platform's; what any other service has must be as
its package made it. Nothing is changed, and no service is asked but a Redis that wants no password.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.module_utils.redis_data import (
    has_append_only_file,
    lost_by_a_start,
)

ANY = ("0.0.0.0", "::")  # noqa: S104  # compared with, not listened at
LISTENING = "0A"  # in /proc/net/tcp


@dataclass(frozen=True)
class Conflict:
    """Something on the host that is in the way.

    Args:
        service: the service of the platform that would collide with it.
        found: the file, port or account, and what it holds or who has it.
        means: what a deployment would do to it.
        advice: what to do.
    """

    service: str
    found: str
    means: str
    advice: str

    def render(self) -> str:
        """Return the conflict as lines of text."""
        return f"{self.service}\n   found: {self.found}\n   means: {self.means}\n   do:    {self.advice}"


def render(host: str, conflicts: Sequence[Conflict]) -> str:
    """Return the conflicts of a host as one numbered text."""
    count = f"{len(conflicts)} things" if len(conflicts) > 1 else "1 thing"
    numbered = [f"{number}. {conflict.render()}" for number, conflict in enumerate(conflicts, 1)]
    first = f"Nothing was changed: {host} has {count} that neither the platform nor an untouched package made."
    last = f"The safest way is another host. To use {host}, do all of this on it, then deploy again."
    return "\n".join([first, *numbered, last])


@dataclass(frozen=True)
class Listener:
    """A socket that accepts TCP connections."""

    address: str
    port: int
    uid: int
    inode: str


@dataclass(frozen=True)
class Process:
    """A process: its unit is the last part of its control group, such as ``nginx.service``."""

    pid: int
    name: str
    unit: str

    def __str__(self) -> str:
        return f"{self.name} (PID {self.pid}{f', {self.unit}' if self.unit else ''})"


class Host:
    """What can be read of a host.

    Args:
        root: its root folder.
    """

    def __init__(self, root: str = "/") -> None:
        self.root = Path(root)

    def path(self, name: str) -> Path:
        """Return where a path of the host is."""
        return self.root / name.lstrip("/")

    def name(self, path: Path) -> str:
        """Return a path as the host knows it."""
        return f"/{path.relative_to(self.root)}"

    def glob(self, pattern: str) -> list[Path]:
        """Return the paths that match a pattern, in order."""
        return sorted(self.root.glob(pattern.lstrip("/")))

    def claimed(self, unit: str) -> bool:
        """Return whether the platform has configured a unit, or begun to.

        Args:
            unit: its name, or a pattern of names.
        """
        return bool(self.glob(f"/var/lib/celery-platform/applied/{unit}.json"))

    def wait_for_dpkg(self, timeout: float = 600) -> None:
        """Wait until no packages are being installed: what a package makes may be half done until then.

        Args:
            timeout: seconds. After that, what is there is taken as it is.
        """
        lock = self.path("/var/lib/dpkg/lock-frontend")
        deadline = time.monotonic() + timeout
        while lock.exists() and time.monotonic() < deadline:
            asked = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)  # a struct flock
            with lock.open("rb") as file:
                answer = fcntl.fcntl(file, fcntl.F_GETLK, asked)
            if struct.unpack("hhqqi", answer)[0] == fcntl.F_UNLCK:
                return
            time.sleep(0.5)

    @cached_property
    def conffiles(self) -> dict[str, str]:
        """The MD5 of each configuration file that a package brought, by path."""
        said = subprocess.run(
            ["dpkg-query", f"--admindir={self.path('/var/lib/dpkg')}", "--show", "--showformat", "${Conffiles}\n"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout
        return dict(re.findall(r"^ (/\S+) ([0-9a-f]{32}|newconffile)\b", said, re.MULTILINE))

    def altered(self, path: Path) -> bool:
        """Return whether a file is there, and is not as a package brought it."""
        if not path.is_file():
            return path.is_symlink() or path.exists()
        found = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        return self.conffiles.get(self.name(path)) not in (found, "newconffile")  # the latter: it was just unpacked

    @cached_property
    def accounts(self) -> dict[str, tuple[int, str]]:
        """The number and the home of each account."""
        path = self.path("/etc/passwd")
        lines = [line.split(":") for line in _text(path).splitlines()]
        return {fields[0]: (int(fields[2]), fields[5]) for fields in lines if len(fields) == 7 and fields[2].isdigit()}

    @cached_property
    def listeners(self) -> list[Listener]:
        """The sockets that accept TCP connections."""
        found = []
        for name, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
            for line in _text(self.path(f"/proc/net/{name}")).splitlines()[1:]:
                fields = line.split()
                if len(fields) > 9 and fields[3] == LISTENING:
                    address, _, port = fields[1].partition(":")
                    words = [bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8)]
                    place = socket.inet_ntop(family, b"".join(words))
                    found.append(Listener(place, int(port, 16), int(fields[7]), fields[9]))
        return found

    @cached_property
    def owners(self) -> dict[str, list[Process]]:
        """The processes that hold each listening socket, by the socket's inode."""
        wanted = {f"socket:[{one.inode}]": one.inode for one in self.listeners}
        found: dict[str, list[Process]] = {}
        for folder in self.path("/proc").glob("[0-9]*"):
            try:
                held = {str(link.readlink()) for link in (folder / "fd").iterdir()} & wanted.keys()
            except OSError:  # it has ended, or is not ours to see
                continue
            for link in held:
                found.setdefault(wanted[link], []).append(self._process(folder))
        return {inode: sorted(processes, key=lambda one: one.pid) for inode, processes in found.items()}

    @staticmethod
    def _process(folder: Path) -> Process:
        groups = [line.split(":", 2) for line in _text(folder / "cgroup").splitlines()]
        paths = [path for number, kind, path in groups if number == "0" or kind == "name=systemd"]
        # A service may have groups of its own below its unit's.
        units = [part for path in paths for part in path.split("/") if part.endswith((".service", ".scope"))]
        return Process(int(folder.name), _text(folder / "comm").strip(), units[-1] if units else "")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _settings(path: Path) -> list[str]:
    """Return the lines of a file that are not empty and no comment, each with single spaces."""
    lines = [line.split("#", 1)[0].split() for line in _text(path).splitlines()]
    return [" ".join(words) for words in lines if words]


# --- ports -----------------------------------------------------------------------------------------------------------


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


def check_ports(host: Host, service: Mapping[str, Any], owner: Owner, claimed: bool) -> Iterator[Conflict]:
    """Check that nobody else listens where a service will.

    A service that the platform runs is not doubted where it cannot be seen who listens.
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
            processes = host.owners.get(one.inode, [])
            if claimed and not processes:
                continue
            if any(process.unit in owner.units for process in processes) and (ours or not owner.account):
                continue
            seen.add(str(processes[0]) if processes else f"a process of the user {one.uid} that /proc does not show")
        for who in sorted(seen):
            yield Conflict(
                service["name"],
                f"port {port}, at which {who} listens",
                "two programs cannot listen at one port",
                "Stop it and keep it from starting at boot, or let it listen at another port.",
            )


# --- services --------------------------------------------------------------------------------------------------------


def _altered(host: Host, service: str, path: Path, package: str) -> Iterator[Conflict]:
    """Check a file that the deployment replaces and that a package brings."""
    if host.altered(path):
        known = host.name(path) in host.conffiles
        yield Conflict(
            service,
            f"{host.name(path)}, {f'changed since the package {package} brought it' if known else 'from no package'}",
            "the deployment would replace it",
            f"Move it away, then bring the package's own back: apt-get install --reinstall "
            f"-o Dpkg::Options::=--force-confmiss {package}",
        )


def check_redis(host: Host, service: Mapping[str, Any]) -> Iterator[Conflict]:
    """Check a Redis that the platform has not configured."""
    yield from _altered(host, "redis", host.path("/etc/redis/redis.conf"), "redis-server")
    data = host.path("/var/lib/redis")
    port = service["listen"][0]["port"] if service["listen"] else 6379
    if has_append_only_file(data):
        yield Conflict(
            "redis",
            "/var/lib/redis, which holds an append-only file",
            "the platform's Redis would read it, and mix its own keys with those in it",
            "Stop it and move its files away: systemctl stop redis-server && mv /var/lib/redis/* /root/",
        )
    elif lost := lost_by_a_start(data, "127.0.0.1", port):
        yield Conflict(
            "redis",
            lost.replace(str(data), "/var/lib/redis"),
            "the platform's Redis reads an append-only file. There is none: Redis would start empty, and its next "
            "snapshot would replace dump.rdb by the empty set",
            "Stop it, which saves the keys, and move them away: "
            "systemctl stop redis-server && mv /var/lib/redis/dump.rdb /root/",
        )


def check_rabbitmq(host: Host, service: Mapping[str, Any]) -> Iterator[Conflict]:
    """Check a RabbitMQ that the platform has not configured.

    Debian's package makes rabbitmq-env.conf, with comments alone, and a node with the virtual host `/` and the user
    guest. RabbitMQ names each virtual host and each classic queue in a file of its folder, has a folder for each quorum
    queue and each stream, and the users in the clear in its table of users or in its latest log.
    """
    purge = (
        "Back up its definitions (rabbitmqctl export_definitions), /etc/rabbitmq and what its queues hold, then remove "
        "it with its data: apt-get purge rabbitmq-server"
    )
    for path in host.glob("/etc/rabbitmq/**/*"):
        made = path.name == "rabbitmq-env.conf" and not _settings(path)
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
    """Return what the folder of a RabbitMQ node holds beside what a new node does."""
    vhosts = [_text(path).strip() for path in sorted(node.glob("msg_stores/vhosts/*/.vhost"))]
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


# What pg_createcluster writes, but for comments and spaces.
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
FIRST_USER_OID = 16384  # PostgreSQL numbers what it is made with below that


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
        if _settings(cluster / "pg_hba.conf") != PG_HBA:
            yield Conflict("postgresql", f"{host.name(cluster / 'pg_hba.conf')}, {changed}", replaced, drop)
        if _settings(cluster / "pg_ident.conf"):
            yield Conflict("postgresql", f"{host.name(cluster / 'pg_ident.conf')}, {changed}", replaced, drop)
        if settings.keys() - PG_SETTINGS or settings.get("port") != port:
            yield Conflict("postgresql", f"{host.name(path)}, {changed}", beside, drop)
        for more in sorted(cluster.glob("conf.d/*.conf")):
            yield Conflict("postgresql", f"{host.name(more)}, not from a package", beside, drop)
    data = host.path(f"/var/lib/postgresql/{version}/main")
    if _settings(data / "postgresql.auto.conf"):
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
    for line in _settings(path):
        match = re.match(r"(\w+)\s*=?\s*'?([^']*)", line)
        if match:
            found[match[1].lower()] = match[2]
    return found


def check_nginx(host: Host, service: Mapping[str, Any]) -> Iterator[Conflict]:
    """Check an nginx that the platform has not configured."""
    site = host.path("/etc/nginx/sites-enabled/default")
    takes = "the platform's site answers every request that no other site names, and the deployment removes the default"
    yield from _altered(host, "nginx", host.path("/etc/nginx/nginx.conf"), "nginx-common")
    ours = host.path("/etc/nginx/conf.d/celery.conf")
    enabled = [*host.glob("/etc/nginx/sites-enabled/*"), *host.glob("/etc/nginx/conf.d/*.conf")]
    for path in enabled:
        if path == site and path.is_symlink() and path.readlink().name == "default":
            target = host.path("/etc/nginx/sites-available/default")
            if not target.exists() or not host.altered(target):
                continue
        where = f" (a link to {path.readlink()})" if path.is_symlink() else ""
        yield Conflict(
            "nginx",
            f"the site {host.name(path)}{where}",
            "the deployment would replace it" if path == ours else takes,
            "Keep a copy of it and remove it here.",
        )


OWN_PROGRAM = re.compile(r"; Managed by Ansible for (celery|flower)\.")
SECTION = re.compile(r"^\[(program|group|fcgi-program|eventlistener):([^\]\s]+)\]", re.MULTILINE)


def check_supervisor(host: Host, service: Mapping[str, Any]) -> Iterator[Conflict]:
    """Check a supervisord that the platform has not configured."""
    yield from _altered(host, "supervisor", host.path("/etc/supervisor/supervisord.conf"), "supervisor")


def check_programs(host: Host, service: Mapping[str, Any]) -> Iterator[Conflict]:
    """Check that nobody else's supervisord programs or files have names of the platform's, whoever runs supervisord."""
    names = set(service["programs"])
    for path in host.glob("/etc/supervisor/conf.d/*.conf"):
        text = _text(path)
        if OWN_PROGRAM.match(text):
            continue
        if path.stem in names:
            yield Conflict(
                "supervisor",
                f"{host.name(path)}, which the platform did not write",
                f"the deployment would replace it by the file of its program {path.stem}",
                _rename("file", path.stem),
            )
        parts = SECTION.split(text)
        for kind, name, body in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
            members = re.search(r"^programs\s*[=:]\s*(.*)$", body, re.MULTILINE) if kind == "group" else None
            taken = {name, *(re.split(r"[\s,]+", members[1]) if members else ())} & names
            if taken:
                others = f", with {', '.join(sorted(taken))}" if taken != {name} else ""
                yield Conflict(
                    "supervisor",
                    f"[{kind}:{name}] in {host.name(path)}{others}",
                    "supervisord merges sections of one name, and takes a program into a group that names it: neither "
                    "the platform's program nor this one would run as it is meant",
                    _rename(kind, name),
                )


def _rename(kind: str, name: str) -> str:
    worker = name == "celery" or name.startswith("celery-")
    otherwise = ", or give the platform's worker another name in celery_workers" if worker else ""
    return f"Rename the {kind}, or remove it, and run: supervisorctl update{otherwise}."


def check_application(host: Host, service: Mapping[str, Any]) -> Iterator[Conflict]:
    """Check the files and the account of the application, or of Flower, where the platform has unpacked no release."""
    name = service["name"]
    home = service["home"]
    found = host.accounts.get(name)
    if found and found[1].rstrip("/") != home.rstrip("/"):
        yield Conflict(
            name,
            f"the account {name} with home {found[1] or 'nowhere'}",
            f"the platform's programs run as an account of this name with home {home}",
            f"Rename the account (usermod --login NEW {name}) or remove it.",
        )
    for text in service["files"]:
        path = host.path(text)
        if path.is_symlink() or path.is_file() or (path.is_dir() and any(path.iterdir())):
            kind = "a folder that holds something" if path.is_dir() else "a file"
            yield Conflict(
                name,
                f"{text}, {kind} that the platform did not write",
                "the deployment would replace it" if not path.is_dir() else "the deployment would write into it",
                "Move it away, or uninstall what it belongs to.",
            )


def unpacked(host: Host, root: str) -> bool:
    """Return whether the platform has unpacked a release below a root, or begun to."""
    deps = host.path(root) / "deps"
    return deps.is_dir() and all(re.fullmatch(r"[0-9a-f]{12}|\.new-.*", path.name) for path in deps.iterdir())


# --- all -------------------------------------------------------------------------------------------------------------

Check = Callable[[Host, Mapping[str, Any]], Iterable[Conflict]]
# By service: its units, the first of which is the one that the platform configures; its account where sockets are its;
# what is checked where the platform has not configured it.
SERVICES: dict[str, tuple[tuple[str, ...], str, Check]] = {
    # systemd itself holds epmd's socket
    "rabbitmq": (("rabbitmq-server.service", "epmd.service", "epmd.socket", "init.scope"), "", check_rabbitmq),
    "redis": (("redis-server.service",), "", check_redis),
    "postgresql": (("postgresql@{version}-main.service",), "", check_postgresql),
    "nginx": (("nginx.service",), "", check_nginx),
    "supervisor": (("supervisor.service",), "", check_supervisor),
    "celery": (("supervisor.service",), "celery", check_application),
    "flower": (("supervisor.service",), "flower", check_application),
}


def check(host: Host, services: Sequence[Mapping[str, Any]]) -> list[Conflict]:
    """Return all conflicts of a host with the services that it is to run.

    Args:
        host: the host.
        services: each with `name`, `listen` (mappings of `port` and `addresses`) and, where it has them, `version` (of
            PostgreSQL), `programs` (names that supervisord is to run), `root`, `home` and `files` (of the application
            and Flower).
    """
    found: list[Conflict] = []
    for service in services:
        units, account, check_files = SERVICES[service["name"]]
        claimed = unpacked(host, service["root"]) if service.get("root") else host.claimed(units[0].format(version="*"))
        units = tuple(unit.format(version=service.get("version", "")) for unit in units)
        if not claimed:
            host.wait_for_dpkg()
            found += check_files(host, service)
        if service.get("programs"):
            found += check_programs(host, service)
        found += check_ports(host, service, Owner(units, account), claimed)
    return found
