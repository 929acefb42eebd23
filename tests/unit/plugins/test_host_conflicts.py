"""Others' configuration and data on a host is found, and what a package or the platform made is not reported.

A host is a folder with the files of a real host. Texts and bytes below are from Debian 12 and 13.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule

from tests.unit.modules import run_module
from tests.unit.rendering import Platform

from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts import clock, postgresql, rabbitmq  # isort: skip
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.check import beside, check  # isort: skip
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.host import Host as Read  # isort: skip
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.ports import collide  # isort: skip
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.room import check_room  # isort: skip

PG_HBA = """\
# Database administrative login by Unix domain socket
local   all             postgres                                peer
# "local" is for Unix domain socket connections only
local   all             all                                     peer
host    all             all             127.0.0.1/32            scram-sha-256
host    all             all             ::1/128                 scram-sha-256
local   replication     all                                     peer
host    replication     all             127.0.0.1/32            scram-sha-256
host    replication     all             ::1/128                 scram-sha-256
"""
PG_CONF = """\
data_directory = '/var/lib/postgresql/17/main'\t\t# use data in another directory
\t\t\t\t\t# (change requires restart)
#listen_addresses = 'localhost'\t\t# what IP address(es) to listen on;
port = 5432\t\t\t\t# (change requires restart)
max_connections = 100\t\t\t# (change requires restart)
log_line_prefix = '%m [%p] %q%u@%d '\t\t# special values:
include_dir = 'conf.d'\t\t\t# include files ending in '.conf' from
"""
# Left by a stop of Debian's redis-server.
EMPTY_DUMP = (
    b"REDIS0012\xfa\tredis-ver\x058.0.2\xfa\nredis-bits\xc0@\xfa\x05ctime\xc2\xd5\xe2\x0bk\xfa\x08used-mem\xc2h<\n\x00"
    b"\xfa\x08aof-base\xc0\x00\xff\xdc\xf9\xfcT\x0c4\x02\x91"
)
DUMP = EMPTY_DUMP[:-9] + b"\xfe\x00\xfb\x43\xe9\x00" + b"\x00\x07order:1\x04paid" + EMPTY_DUMP[-9:]
# A row of RabbitMQ's table of users: Erlang's tag of an atom differs from Debian 12 to 13.
USER = b"\x83h\x06%s\rinternal_userm\x00\x00\x00%c%sm\x00\x00\x00$!\xc5\x8e\xa1"
ATOMS = (b"d\x00", b"w")
SUPERVISORD = """\
[unix_http_server]
file=/var/run/supervisor.sock   ; (the path to the socket file)
chmod=0700                       ; sockef file mode (default 0700)
[supervisord]
logfile=/var/log/supervisor/supervisord.log ; (main log file;default $CWD/supervisord.log)
[include]
files = /etc/supervisor/conf.d/*.conf
"""
LOOPBACK, ANY, ANY6 = "0100007F", "00000000", "0" * 32


class Host:
    """A host's root folder.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.conffiles: dict[str, str] = {}
        self.write("/etc/passwd", "root:x:0:0::/root:/bin/bash\nredis:x:101:101::/var/lib/redis:/usr/sbin/nologin\n")

    def path(self, name: str) -> Path:
        """Return a path of the host as a path of this process."""
        return self.root / name.lstrip("/")

    def write(self, name: str, text: str | bytes = "something\n") -> Path:
        """Write a file."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def install(self, *names: str, md5: str = "") -> None:
        """Write files as a package brings them, and dpkg's record of them."""
        for name in names:
            content = self.write(name, f"as {name} comes\n").read_bytes()
            self.conffiles[name] = md5 or hashlib.md5(content, usedforsecurity=False).hexdigest()
        lines = "".join(f"\n {name} {digest}" for name, digest in self.conffiles.items())
        self.write(
            "/var/lib/dpkg/status",
            "Package: things\nStatus: install ok installed\nMaintainer: nobody\nArchitecture: all\nVersion: 1\n"
            f"Conffiles:{lines}\nDescription: things\n",
        )

    def listen(self, port: int, *, address: str = LOOPBACK, uid: int = 0, pid: int = 0, **process: str) -> None:
        """Let a process listen at a port. Without a PID, /proc does not show the process."""
        name = "/proc/net/tcp6" if len(address) > 8 else "/proc/net/tcp"
        before = self.path(name).read_text() if self.path(name).exists() else "  sl  local_address rem_address   st\n"
        inode = 70000 + port
        line = f"   0: {address}:{port:04X} {ANY}:0000 0A 00000000:00000000 00:00000000 00000000 {uid:5} 0 {inode} 1\n"
        self.write(name, before + line)
        if pid:
            unit = process.get("unit", "")
            self.write(f"/proc/{pid}/comm", process.get("name", "thing") + "\n")
            self.write(f"/proc/{pid}/cgroup", f"9:name=systemd:/pod/system.slice/{unit}\n8:pids:/pod\n0::/pod\n")
            self.path(f"/proc/{pid}/fd").mkdir(exist_ok=True)
            self.path(f"/proc/{pid}/fd/3").symlink_to(f"socket:[{inode}]")

    def claim(self, unit: str) -> None:
        """Make the host look as if the platform had configured a unit."""
        self.write(f"/var/lib/celery-platform/applied/{unit}.json", "{}")

    def found(self, name: str, **service: Any) -> list[str]:
        """Return the conflicts of a service."""
        return [one.found for one in check(Read(str(self.root)), [{"name": name, "listen": []} | service])]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Return a host with the untouched packages of all services."""
    host = Host(tmp_path)
    nginx = [f"/etc/nginx/{name}" for name in ("nginx.conf", "mime.types", "sites-available/default")]
    host.install("/etc/redis/redis.conf", "/etc/supervisor/supervisord.conf", *nginx)
    host.path("/etc/nginx/sites-enabled").mkdir()
    host.path("/etc/nginx/sites-enabled/default").symlink_to("/etc/nginx/sites-available/default")
    host.write("/etc/rabbitmq/rabbitmq-env.conf", "# Defaults to rabbit.\n#NODENAME=rabbit\n\n")
    node = "/var/lib/rabbitmq/mnesia/rabbit@a"
    host.write(f"{node}/msg_stores/vhosts/628WB/.vhost", "/")
    host.write(f"{node}/quorum/rabbit@a/names.dets")
    host.write(f"{node}/rabbit_user.DCD", USER % (b"w", 5, b"guest"))
    host.write(f"{node}.pid", "12")
    host.write("/var/lib/redis/dump.rdb", EMPTY_DUMP)
    for name, text in {"pg_hba.conf": PG_HBA, "pg_ident.conf": "# nothing\n", "postgresql.conf": PG_CONF}.items():
        host.write(f"/etc/postgresql/17/main/{name}", text)
    host.write("/var/lib/postgresql/17/main/postgresql.auto.conf", "# Do not edit this file manually!\n")
    for oid in ("1", "4", "5", "pgsql_tmp"):
        host.write(f"/var/lib/postgresql/17/main/base/{oid}/PG_VERSION", "17")
    return host


SERVICES: list[dict[str, Any]] = [
    {"name": "rabbitmq", "listen": [{"port": 5672, "addresses": ["127.0.0.1"]}]},
    {"name": "redis", "listen": [{"port": 6379, "addresses": ["127.0.0.1"]}]},
    {"name": "postgresql", "version": "17", "listen": [{"port": 5432, "addresses": ["127.0.0.1"]}]},
    {"name": "nginx", "listen": [{"port": 80, "addresses": ["0.0.0.0", "::"]}]},  # noqa: S104
    {"name": "supervisor", "listen": [], "programs": ["celery", "celerybeat", "web", "flower"]},
    {"name": "celery", "listen": [], "root": "/opt/celery", "home": "/var/lib/celery", "files": ["/etc/celery"]},
    {"name": "flower", "listen": [], "root": "/opt/flower", "home": "/", "files": ["/etc/flower"]},
]


def everything(host: Host) -> dict[str, Any]:
    """Return the module's result for a host that is to run everything."""
    return run_module("host_conflicts", host="a", services=SERVICES, root=str(host.root))


@pytest.mark.parametrize("blank", [True, False])
def test_nothing_is_in_the_way_on_a_fresh_host(host: Host, tmp_path: Path, blank: bool) -> None:
    """Both on a blank host and on a host with untouched packages whose services have run."""
    said = everything(Host(tmp_path / "blank") if blank else host)
    assert (said.get("failed", False), said["changed"], said["conflicts"]) == (False, False, [])


def test_all_is_said_at_once(host: Host) -> None:
    host.write("/var/lib/redis/dump.rdb", DUMP)
    host.write("/etc/supervisor/conf.d/shop.conf", "[program:web]\ncommand=/bin/true\n")
    host.listen(80, address=ANY, pid=12, name="apache2", unit="apache2.service")
    said = everything(host)
    assert said["failed"]
    assert [one["service"] for one in said["conflicts"]] == ["redis", "nginx", "supervisor"]
    for words in (
        "Nothing was changed: 3 things on a are in the way",
        "1001 keys in database 0 in /var/lib/redis/dump.rdb",
        "port 80, at which apache2 (PID 12, apache2.service) listens",
        "[program:web] in /etc/supervisor/conf.d/shop.conf",
    ):
        assert words in said["msg"]
    assert all(one["means"] and one["advice"] in said["msg"] for one in said["conflicts"])


# --- Redis -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dump", "words"),
    [
        (b"", ""),
        (EMPTY_DUMP, ""),
        (DUMP, "1001 keys in database 0"),
        (EMPTY_DUMP[:40], "data that cannot be read (it is cut short)"),
        (b"not a snapshot", "data that cannot be read (it does not begin as a Redis snapshot)"),
        (EMPTY_DUMP[:-9] + b"\xf5\x05hello" + EMPTY_DUMP[-9:], "data"),  # a function
    ],
)
def test_a_snapshot_counts_by_what_it_holds(host: Host, dump: bytes, words: str) -> None:
    host.write("/var/lib/redis/dump.rdb", dump)
    assert host.found("redis") == ([f"{words} in /var/lib/redis/dump.rdb"] if words else [])


def test_redis_of_somebody_else(host: Host) -> None:
    host.write("/etc/redis/redis.conf", "requirepass s3cret\n")
    host.write("/var/lib/redis/appendonlydir/appendonly.aof.manifest")
    changed, data = host.found("redis")
    assert changed == "/etc/redis/redis.conf, changed since the package redis-server brought it"
    assert data == "/var/lib/redis, which holds an append-only file"
    host.claim("redis-server.service")
    assert host.found("redis") == []


def test_redis_that_may_be_taken_over(host: Host) -> None:
    """Only what would lose keys is in the way."""
    host.write("/etc/redis/redis.conf", "requirepass s3cret\nDatabases 16\ndir /var/lib/redis\n")
    host.write("/var/lib/redis/dump.rdb", DUMP)
    assert host.found("redis", take_over=True) == []
    host.write("/etc/redis/redis.conf", "dir /srv/redis\nreplicaof 192.0.2.1 6379\ndatabases 32\n")
    assert host.found("redis", take_over=True) == [
        f"`{line}` in /etc/redis/redis.conf" for line in ("dir /srv/redis", "replicaof 192.0.2.1 6379", "databases 32")
    ]
    host.write("/etc/redis/redis.conf", "port 6379\n")
    host.listen(6379, pid=12, name="other", unit="other.service")
    listen = [{"port": 6379, "addresses": ["127.0.0.1"]}]
    assert host.found("redis", take_over=True, listen=listen) == [
        "port 6379, at which other (PID 12, other.service) listens"
    ]


def test_configuration_of_no_package(host: Host) -> None:
    host.write("/var/lib/dpkg/status", "")
    assert host.found("redis") == ["/etc/redis/redis.conf, from no package"]


def test_a_file_that_dpkg_has_just_unpacked_is_the_packages(host: Host) -> None:
    host.install("/etc/redis/redis.conf", md5="newconffile")
    assert host.found("redis") == []


def test_packages_that_are_being_installed_are_waited_for(host: Host) -> None:
    """The apt of an interrupted deployment continues in the background."""
    lock = host.write("/var/lib/dpkg/lock-frontend", "")
    host.write("/etc/redis/redis.conf", "half of it")
    hold = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as apt:
        assert apt.stdin
        assert apt.stdout
        apt.stdout.readline()

        def finish() -> None:
            host.install("/etc/redis/redis.conf")
            apt.communicate("\n")

        threading.Timer(0.3, finish).start()
        assert host.found("redis") == []


# --- RabbitMQ --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "content", "words"),
    [
        ("msg_stores/vhosts/9XYZ/.vhost", b"legacy", "the virtual host legacy"),
        ("msg_stores/vhosts/628WB/queues/4ABC/.queue_name", b"jobs", "1 queue"),
        ("quorum/rabbit@a/2F_JOBSABC/config", b"", "1 queue"),
        ("stream/__jobs_1/00000.segment", b"", "1 queue"),
        ("rabbit_user.DCL", USER % (ATOMS[0], 6, b"legacy"), "the user legacy"),
        ("LATEST.LOG", USER % (ATOMS[1], 6, b"legacy"), "the user legacy"),
    ],
)
def test_a_node_that_holds_something(host: Host, path: str, content: bytes, words: str) -> None:
    """It has to run, to get the platform's virtual host."""
    host.write(f"/var/lib/rabbitmq/mnesia/rabbit@a/{path}", content)
    assert host.found("rabbitmq") == [
        f"/var/lib/rabbitmq/mnesia/rabbit@a with {words}, of a RabbitMQ that does not answer: no node runs"
    ]
    host.claim("rabbitmq-server.service")
    assert host.found("rabbitmq") == []


RABBIT: dict[str, Any] = {
    "version": "4.0.5",
    "vhosts": ["/", "shop"],
    "users": ["guest", "shop", "celery_shop"],
    "nodes": 1,
    "features": ["quorum_queue", "stream_queue"],
    "plugins": ["rabbitmq_management"],
    "internal": True,
    "timeout": 1_800_000,
}
RABBIT_LISTENS: list[dict[str, Any]] = [
    {"port": 5672, "addresses": ["127.0.0.1", "192.0.2.1"]},
    {"port": 15672, "addresses": ["0.0.0.0"]},  # noqa: S104
]


@pytest.fixture(autouse=True)
def node(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that says what the host's RabbitMQ answers. Until then, it does not run."""

    def say(error: str = "", **changed: Any) -> None:
        def ask() -> dict[str, Any]:
            if error:
                raise rabbitmq.AskError(error)
            return RABBIT | changed

        monkeypatch.setattr(rabbitmq, "ask", ask)

    say(error="no node runs")
    return say


def found_in_rabbitmq(host: Host) -> tuple[list[str], list[str]]:
    """Return the conflicts of RabbitMQ, and the services that are beside those of others."""
    service: dict[str, Any] = {"name": "rabbitmq", "listen": RABBIT_LISTENS, "consumer_timeout": 3600}
    return host.found(**service), beside(Read(str(host.root)), [service])


@pytest.mark.parametrize("path", ["/etc/rabbitmq/conf.d/10-shop.conf", "/etc/rabbitmq/rabbitmq-env.conf"])
def test_a_rabbitmq_of_others_gets_the_platforms_virtual_host(host: Host, node: Callable[..., None], path: str) -> None:
    assert found_in_rabbitmq(host) == ([], [])
    host.write(path, "NODENAME=shop\n")
    (found,) = found_in_rabbitmq(host)[0]
    assert found.startswith(path)
    assert "does not answer: no node runs" in found
    node()
    for pid, port in ((7, 5672), (8, 15672)):
        host.listen(port, address=ANY * 4, pid=pid, unit="rabbitmq-server.service", name="beam.smp")
    assert found_in_rabbitmq(host) == ([], ["rabbitmq"])


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"version": "3.9.13"}, "whose version is 3.9.13"),
        ({"nodes": 3}, "which is a node of a cluster of 3"),
        ({"features": ["quorum_queue"]}, "in which the feature flags stream_queue are disabled"),
        ({"internal": False}, "(no rabbit_auth_backend_internal in auth_backends)"),
        ({"version": "3.10.8"}, "in which a delivery may stay unacknowledged for 1800 s"),
        ({"plugins": []}, "without the plugin rabbitmq_management"),
        ({"vhosts": ["celery"]}, "with the virtual host celery, which the platform did not make"),
        ({"users": ["flower_0123abcd"]}, "with the user flower_0123abcd, which the platform did not make"),
    ],
)
def test_a_rabbitmq_of_others_that_cannot_work(
    host: Host, node: Callable[..., None], said: dict[str, Any], words: str
) -> None:
    host.write("/etc/rabbitmq/rabbitmq.conf", "heartbeat = 77\n")
    for port in (5672, 15672):
        host.listen(port, address=ANY * 4)
    node(**said)
    found = [one for one in found_in_rabbitmq(host)[0] if "a RabbitMQ of others" in one]
    assert len(found) == 1
    assert words in found[0]


def test_a_rabbitmq_of_others_where_nobody_finds_it(host: Host, node: Callable[..., None]) -> None:
    host.write("/etc/rabbitmq/rabbitmq.conf", "listeners.tcp.1 = 127.0.0.1:5672\n")
    host.listen(5672)
    node()
    assert [one.partition("), ")[2] for one in found_in_rabbitmq(host)[0] if "of others" in one] == [
        "which does not listen at 192.0.2.1, port 5672",
        "which does not listen at 127.0.0.1 and 192.0.2.1, port 15672",
    ]


def test_a_rabbitmq_of_others_stays_theirs(host: Host) -> None:
    """What the first deployment found decides for later ones."""
    host.claim("rabbitmq-server.service")
    for path, expected in (("rabbitmq.conf", []), ("celery.json", ["rabbitmq"])):
        files = {f"/etc/rabbitmq/{path}": {"state": "absent"}}
        host.write(
            "/var/lib/celery-platform/originals/rabbitmq-server.service.json", json.dumps({"unit": {}, "files": files})
        )
        assert found_in_rabbitmq(host)[1] == expected


# --- PostgreSQL ------------------------------------------------------------------------------------------------------


ANSWER: dict[str, Any] = {
    "roles": ["blog"],
    "databases": ["blog"],
    "superuser": True,
    "replica": False,
    "hba_file": "/etc/postgresql/17/main/pg_hba.conf",
}
Answers = Callable[..., None]


@pytest.fixture(autouse=True)
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """Return a function that says what the host's PostgreSQL answers. Until then, it does not run."""

    def say(error: str = "", **changed: Any) -> None:
        def ask() -> dict[str, Any]:
            if error:
                raise postgresql.AskError(error)
            return ANSWER | changed

        monkeypatch.setattr(postgresql, "ask", ask)

    say(error="no server runs")
    return say


def found_in_postgresql(host: Host) -> tuple[list[str], list[str]]:
    """Return the conflicts of PostgreSQL, and the services that are beside those of others."""
    listen = [{"port": 5432, "addresses": ["127.0.0.1"]}]
    service: dict[str, Any] = {"name": "postgresql", "version": "17", "listen": listen}
    return host.found(**service), beside(Read(str(host.root)), [service])


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/etc/postgresql/17/main/pg_hba.conf", PG_HBA + "host blog blog 192.0.2.0/24 md5\n"),
        ("/etc/postgresql/17/main/pg_ident.conf", "admins root postgres\n"),
        ("/etc/postgresql/17/main/postgresql.conf", PG_CONF + "work_mem = 64MB\n"),
        ("/etc/postgresql/17/main/conf.d/tuning.conf", "work_mem = 64MB\n"),
        ("/var/lib/postgresql/17/main/postgresql.auto.conf", "work_mem = '64MB'\n"),
        ("/var/lib/postgresql/17/main/base/16384/PG_VERSION", "17"),
        ("/var/lib/postgresql/17/main/pg_tblspc/1", ""),
        ("/etc/motd", "nothing of PostgreSQL's: the server says that it has a role of others"),
    ],
)
def test_a_postgresql_of_others_gets_our_database(host: Host, answers: Answers, path: str, text: str) -> None:
    host.listen(5432, pid=12, name="postgres", unit="postgresql@17-main.service")
    answers()
    host.write(path, text)
    assert found_in_postgresql(host) == ([], ["postgresql"])


def test_an_unused_postgresql_is_the_platforms(host: Host, answers: Answers) -> None:
    """Whether it runs or not."""
    assert found_in_postgresql(host) == ([], [])
    answers(roles=[], databases=[])
    assert found_in_postgresql(host) == ([], [])


def test_our_place_in_postgresql_is_what_it_was(host: Host) -> None:
    """Whatever others do later."""
    hba = "/etc/postgresql/17/main/pg_hba.conf"
    host.write(hba, PG_HBA + "host blog blog 192.0.2.0/24 md5\n")
    host.claim("postgresql@17-main.service")
    for path, ours in ((hba, ["postgresql"]), ("/etc/postgresql/17/main/conf.d/celery.conf", [])):
        files: dict[str, Any] = {hba: {}, path: {}}
        host.write("/var/lib/celery-platform/originals/postgresql@17-main.service.json", json.dumps({"files": files}))
        assert found_in_postgresql(host) == ([], ours)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"error": "FATAL:  Peer authentication failed"}, "cannot log in: FATAL:  Peer authentication failed"),
        ({"superuser": False}, "whose role postgres is no superuser"),
        ({"replica": True}, "a replica"),
        ({"hba_file": "/srv/pg_hba.conf"}, "whose rules are in /srv/pg_hba.conf"),
        ({"databases": ["blog", "celery"]}, "the database celery, which the platform did not make"),
        ({"roles": ["celery_1", "celery"]}, "the role celery, which the platform did not make"),
        ({"roles": ["celery_0123abcd"]}, "the role celery_0123abcd, which"),
    ],
)
def test_a_postgresql_that_cannot_have_our_database(
    host: Host, answers: Answers, answer: dict[str, Any], words: str
) -> None:
    host.write("/etc/postgresql/17/main/conf.d/tuning.conf")
    host.listen(5432, address=ANY, pid=12, name="postgres", unit="postgresql@17-main.service")
    answers(**answer)
    (found,) = found_in_postgresql(host)[0]
    assert words in found


@pytest.mark.parametrize(
    ("listens", "missing"), [(LOOPBACK, "192.0.2.7"), (ANY, ""), (ANY6, "127.0.0.1 and 192.0.2.7")]
)
def test_a_postgresql_has_to_listen_where_we_ask(host: Host, answers: Answers, listens: str, missing: str) -> None:
    host.write("/etc/postgresql/17/main/conf.d/tuning.conf")
    host.listen(5432, address=listens, pid=12, name="postgres", unit="postgresql@17-main.service")
    answers()
    addresses = ["127.0.0.1", "192.0.2.7"]
    found = host.found("postgresql", version="17", listen=[{"port": 5432, "addresses": addresses}])
    words = f"a server of others, which does not listen at {missing}, port 5432"
    assert found == ([words] if missing else [])


def test_the_port_of_the_cluster_has_to_be_ours(host: Host) -> None:
    host.write("/etc/postgresql/17/main/postgresql.conf", PG_CONF.replace("5432", "5433"))
    assert found_in_postgresql(host) == (["the cluster 17/main, which has port 5433"], [])


def test_another_cluster_counts_where_it_has_the_port(host: Host) -> None:
    host.write("/etc/postgresql/15/main/postgresql.conf", "port = 5433\n")
    assert host.found("postgresql", version="17") == []
    host.write("/etc/postgresql/15/main/postgresql.conf", "port = 5432\n")
    assert host.found("postgresql", version="17") == ["the cluster 15/main, which has port 5432"]


# --- nginx -----------------------------------------------------------------------------------------------------------


def test_the_packages_own_site_may_be_gone(host: Host) -> None:
    host.path("/etc/nginx/sites-enabled/default").unlink()
    assert host.found("nginx") == []


BLOG = "server {\n    listen 80 default_server;\n    server_name blog.example.org;\n}\n"
AT_80 = [{"port": 80, "addresses": ["0.0.0.0"]}]  # noqa: S104


@pytest.mark.parametrize("path", ["sites-available/default", "sites-enabled/blog", "conf.d/blog.conf"])
def test_sites_of_others_stay_beside_a_named_one(host: Host, path: str) -> None:
    """Without a name of its own, the platform's site would take requests from theirs."""
    host.write(f"/etc/nginx/{path}", BLOG)
    found = host.found("nginx", listen=AT_80)
    assert any(path.replace("available", "enabled") in one for one in found)
    assert host.found("nginx", listen=AT_80, names=["shop.example.org"]) == []
    assert everything(host)["beside"] == ["nginx"]
    (taken,) = host.found("nginx", listen=AT_80, names=["blog.example.org"])
    assert taken.endswith(", at port 80, with the name blog.example.org")
    host.claim("nginx.service")
    assert host.found("nginx", listen=AT_80) == []


def test_a_port_of_its_own_needs_no_name(host: Host) -> None:
    host.path("/etc/nginx/sites-enabled/default").unlink()
    host.write("/etc/nginx/conf.d/blog.conf", BLOG.replace("80 ", "8081 "))
    assert host.found("nginx", listen=AT_80) == []


def test_an_address_of_another_site_hides_ours(host: Host) -> None:
    host.path("/etc/nginx/sites-enabled/default").unlink()
    host.write("/etc/nginx/conf.d/blog.conf", BLOG.replace("80 ", "192.0.2.1:80 "))
    (found,) = host.found("nginx", listen=AT_80, names=["shop.example.org"])
    assert found.endswith("for the address 192.0.2.1 alone")


def test_nginx_has_to_read_our_site(host: Host) -> None:
    host.write("/etc/nginx/nginx.conf", "http {\n    include /etc/nginx/conf.d/*.conf;\n    gzip on;\n}\n")
    assert host.found("nginx") == []
    host.write("/etc/nginx/nginx.conf", "http {\n    # include /etc/nginx/conf.d/*.conf;\n}\n")
    assert host.found("nginx") == ["/etc/nginx/nginx.conf, which does not include /etc/nginx/conf.d/*.conf"]
    host.install("/etc/nginx/nginx.conf")
    host.write("/etc/nginx/conf.d/celery.conf", BLOG)
    assert host.found("nginx") == ["the site /etc/nginx/conf.d/celery.conf"]


def test_our_place_is_what_it_was(host: Host) -> None:
    """A site that others add later takes nothing from the platform's."""
    host.write("/etc/nginx/conf.d/celery.conf", "server {\n    listen 80 default_server;\n}\n")
    host.claim("nginx.service")
    host.write("/etc/nginx/conf.d/blog.conf", "server { listen 8081; }\n")
    assert everything(host)["beside"] == []
    host.write("/etc/nginx/conf.d/celery.conf", "server {\n    listen 80;\n}\n")
    assert everything(host)["beside"] == ["nginx"]


# --- supervisord -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("claimed", [True, False])
def test_programs_of_our_names(host: Host, claimed: bool) -> None:
    """A section counts in any file, whether or not the platform has configured supervisord."""
    host.write("/etc/supervisor/conf.d/celery.conf", "[program:celery-invoices]\ncommand=/bin/true\n")
    host.write(
        "/etc/supervisor/conf.d/zz-shop.conf",
        "[program:celery]\ncommand=x\n[eventlistener:web]\ncommand=x\n"
        "[group:shop]\nprograms=mail, celerybeat\n[group:other]\nprograms=mail\n",
    )
    if claimed:
        host.claim("supervisor.service")
    assert host.found("supervisor", programs=["celery", "celerybeat", "web"]) == [
        "/etc/supervisor/conf.d/celery.conf, which the platform did not write",
        "[program:celery] in /etc/supervisor/conf.d/zz-shop.conf",
        "[eventlistener:web] in /etc/supervisor/conf.d/zz-shop.conf",
        "[group:shop] in /etc/supervisor/conf.d/zz-shop.conf, with celerybeat",
    ]


def test_other_programs_live_beside_ours(host: Host) -> None:
    host.write("/etc/supervisor/conf.d/mail.conf", "[program:mail]\ncommand=/bin/true\n")
    host.write(
        "/etc/supervisor/conf.d/web.conf", "; Managed by Ansible for celery. Changes here are lost.\n[program:web]\n"
    )
    assert host.found("supervisor", programs=["celery", "web"]) == []


def test_supervisord_of_somebody_else(host: Host) -> None:
    host.write("/etc/supervisor/supervisord.conf", SUPERVISORD + "[inet_http_server]\nport=127.0.0.1:9001\n")
    assert host.found("supervisor", programs=["celery"]) == []
    assert everything(host)["beside"] == ["supervisor"]
    host.claim("supervisor.service")
    assert everything(host)["beside"] == [], "a host of an older version"
    kept = host.write("/var/lib/celery-platform/originals/supervisor.service.json", '{"files": {"/etc/a": {}}}')
    assert everything(host)["beside"] == ["supervisor"]
    kept.write_text('{"files": {"/etc/supervisor/supervisord.conf": {}}}')
    assert everything(host)["beside"] == []


def test_a_program_of_others_is_not_restarted_for_ours(host: Host) -> None:
    host.write("/etc/supervisor/conf.d/mail.conf", "[program:mail]\ncommand=/bin/true\n")
    assert everything(host)["beside"] == ["supervisor"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("/var/run/supervisor.sock", "/run/other.sock", "without a socket at /run/supervisor.sock"),
        ("chmod=0700", "username=me", "whose socket wants a password"),
        ("/etc/supervisor/conf.d", "/srv", "which does not include /etc/supervisor/conf.d/*.conf"),
        ("[supervisord]", "no section", "which cannot be read"),
    ],
)
def test_a_supervisord_that_cannot_run_ours(host: Host, old: str, new: str, words: str) -> None:
    host.write(
        "/etc/supervisor/supervisord.conf", ("" if new != "no section" else "x\n") + SUPERVISORD.replace(old, new)
    )
    (found,) = host.found("supervisor", programs=["celery"])
    assert words in found
    host.claim("supervisor.service")
    assert host.found("supervisor", programs=["celery"]) == []


# --- the application -------------------------------------------------------------------------------------------------


def application(host: Host) -> list[str]:
    """Return the conflicts of the application."""
    files = ["/opt/celery", "/etc/celery", "/usr/local/bin/celery"]
    return host.found("celery", root="/opt/celery", home="/var/lib/celery", files=files)


def test_files_and_an_account_of_our_names(host: Host) -> None:
    host.write("/opt/celery/bin/python")
    host.path("/etc/celery").mkdir()
    host.write("/usr/local/bin/celery", "#!/usr/bin/python3\n")
    host.write("/etc/passwd", "celery:x:1001:1001::/home/celery:/bin/bash\n")
    assert application(host) == [
        "the account celery with home /home/celery",
        "/opt/celery, a folder that holds something that the platform did not write",
        "/usr/local/bin/celery, a file that the platform did not write",
    ]


@pytest.mark.parametrize("unpacked", ["", ".new-abc", "0123456789ab"])
def test_what_an_interrupted_deployment_left(host: Host, unpacked: str) -> None:
    host.write("/etc/passwd", "celery:x:990:990:Celery:/var/lib/celery:/usr/sbin/nologin\n")
    host.path(f"/opt/celery/deps/{unpacked}").mkdir(parents=True)
    host.write("/usr/local/bin/celery", "#!/bin/sh\n")
    assert application(host) == []


# --- ports -----------------------------------------------------------------------------------------------------------

REDIS = [{"port": 6379, "addresses": ["127.0.0.1", "192.0.2.1"]}]


@pytest.mark.parametrize(
    ("address", "others", "collides"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "0.0.0.0", True),  # noqa: S104
        ("127.0.0.1", "::", True),
        ("127.0.0.1", "192.0.2.7", False),
        ("127.0.0.1", "::1", False),
        ("0.0.0.0", "192.0.2.7", True),  # noqa: S104
        ("0.0.0.0", "::1", False),  # noqa: S104
        ("::", "::1", True),
    ],
)
def test_two_sockets_have_one_port_where_their_addresses_differ(address: str, others: str, collides: bool) -> None:
    assert collide(address, others) is collides


@pytest.mark.parametrize("unit", ["docker-0123.scope", "session-3.scope", "valkey-server.service"])
def test_a_port_that_somebody_else_has(host: Host, unit: str) -> None:
    host.listen(6379, address=ANY6, pid=77, name="redis-server", unit=unit)
    assert host.found("redis", listen=REDIS) == [f"port 6379, at which redis-server (PID 77, {unit}) listens"]
    host.claim("redis-server.service")
    assert host.found("redis", listen=REDIS), "also after the platform has configured it"


def test_the_packages_own_service_may_have_its_port(host: Host) -> None:
    host.listen(80, address=ANY, pid=12, name="nginx", unit="nginx.service")
    host.listen(4369, address=ANY6, pid=1, name="systemd", unit="init.scope")
    host.listen(5432, pid=13, name="postgres", unit="system-postgresql.slice/postgresql@17-main.service")
    assert host.found("nginx", listen=[{"port": 80, "addresses": ["0.0.0.0", "::"]}]) == []  # noqa: S104
    assert host.found("rabbitmq", listen=[{"port": 4369, "addresses": ["127.0.0.1"]}]) == []
    assert host.found("postgresql", version="17", listen=[{"port": 5432, "addresses": ["127.0.0.1"]}]) == []


def test_an_unseen_process_is_doubted_only_where_the_platform_is_not(host: Host) -> None:
    host.listen(5432, uid=999)
    listen = [{"port": 5432, "addresses": ["127.0.0.1"]}]
    words = "port 5432, at which a process of the user 999 that /proc does not show listens"
    assert host.found("postgresql", version="17", listen=listen) == [words]
    host.claim("postgresql@17-main.service")
    assert host.found("postgresql", version="17", listen=listen) == []


def test_a_port_of_the_applications_is_its_accounts(host: Host) -> None:
    """A program that somebody else added to supervisord belongs to supervisord's unit, too."""
    service: dict[str, Any] = {"root": "/opt/celery", "home": "/var/lib/celery", "files": []}
    service["listen"] = [{"port": 8000, "addresses": ["127.0.0.1"]}]
    host.write("/etc/passwd", "celery:x:990:990:Celery:/var/lib/celery:/usr/sbin/nologin\n")
    host.listen(8000, uid=33, pid=12, name="gunicorn", unit="supervisor.service")
    assert host.found("celery", **service) == ["port 8000, at which gunicorn (PID 12, supervisor.service) listens"]
    host.path("/proc/net/tcp").unlink()
    host.listen(8000, uid=990, pid=13, name="gunicorn", unit="supervisor.service")
    assert host.found("celery", **service) == []


def test_the_cache_is_a_unit_of_its_own(host: Host) -> None:
    """A second deployment met the platform's own cache, and took it for somebody else's."""
    listen = [{"port": 6380, "addresses": ["127.0.0.1"]}]
    host.write("/etc/redis/redis-cache.conf", "port 6380\n")
    host.listen(6380, uid=101, pid=78, name="redis-server", unit="redis-server@cache.service")
    assert host.found("cache", listen=listen) == ["/etc/redis/redis-cache.conf, which the platform did not write"]
    host.claim("redis-server@cache.service")
    assert host.found("cache", listen=listen) == []


def test_another_redis_at_the_port_of_the_cache(host: Host) -> None:
    listen = [{"port": 6380, "addresses": ["127.0.0.1"]}]
    host.claim("redis-server@cache.service")
    host.listen(6380, uid=101, pid=79, name="redis-server", unit="redis-server@shop.service")
    assert host.found("cache", listen=listen) == [
        "port 6380, at which redis-server (PID 79, redis-server@shop.service) listens"
    ]


# --- what the platform asks for --------------------------------------------------------------------------------------


def asked(platform: Platform) -> dict[str, dict[str, Any]]:
    """Return the services that the role asks for, by name."""
    return {one["name"]: one for one in platform.described()["claims"]}


def test_a_host_is_asked_for_what_it_runs() -> None:
    everything = ["rabbitmq", "redis", "postgresql", "nginx", "supervisor", "celery", "flower"]
    assert list(asked(Platform())) == everything
    assert list(asked(Platform(celery_broker="redis", celery_database_enabled=False, celery_flower_enabled=False))) == [
        *("redis", "nginx", "supervisor", "celery")
    ]
    groups = {"brokers": ["a"], "results": ["a"], "workers": ["b"], "proxy": []}
    switches = {f"celery_{name}_enabled": False for name in ("beat", "web", "database", "flower")}
    cache = Platform(celery_cache_enabled=True, celery_cache_password="p")  # noqa: S106  # of no service
    assert list(asked(cache)) == [*everything[:2], "cache", *everything[2:]]
    alone = asked(Platform(groups=groups, host="b", **switches))
    assert list(alone) == ["supervisor", "celery"]
    assert alone["celery"]["listen"] == []


@pytest.mark.parametrize("debian", [12, 13])
def test_the_names_are_those_that_the_roles_write(debian: int) -> None:
    platform = Platform(debian)
    services = asked(platform)
    assert services["postgresql"]["version"] == platform.variable("postgresql", "_postgresql_version")
    for name in ("celery", "flower"):
        written = set(platform.files(name))
        named = tuple(f"{path}/" for path in services[name]["files"])
        ours = {path for path in written if path not in services[name]["files"] and not path.startswith(named)}
        assert ours <= {"/run/celery", "/var/log/celery"}, "a folder of a booted host's, and one that both have"
    programs = [f"[program:{name}]" for name in services["supervisor"]["programs"]]
    text = platform.programs("celery") + platform.programs("flower")
    assert sorted(programs) == sorted(line for line in text.splitlines() if line.startswith("[program:"))
    ports = {name: [listen["port"] for listen in service.get("listen", [])] for name, service in services.items()}
    assert f"port {ports['redis'][0]}" in platform.text("redis", "/etc/redis/redis.conf")
    assert f":{ports['rabbitmq'][0]}" in platform.text("rabbitmq", "/etc/rabbitmq/rabbitmq.conf")
    assert f"management.tcp.port = {ports['rabbitmq'][1]}" in platform.text("rabbitmq", "/etc/rabbitmq/rabbitmq.conf")
    assert f"listen {ports['nginx'][0]} " in platform.text("nginx", "/etc/nginx/conf.d/celery.conf")
    assert f":{ports['celery'][0]} " in platform.programs("celery")
    assert f"FLOWER_PORT={ports['flower'][0]}" in platform.text("flower", "/etc/flower/environment").replace("'", "")


# --- room -------------------------------------------------------------------------------------------------------------


SMALL_ROOT = "3 MB free on the file system of /etc"


class Disks(Read):
    """A host whose file systems have so much room: megabytes and inodes by path, the others by ``/``."""

    def __init__(self, root: Path, room: dict[str, tuple[int, int | None]]) -> None:
        super().__init__(str(root))
        self.room = room

    def _mount(self, name: str) -> str:
        return max((path for path in self.room if f"{name}/".startswith(path)), key=len)

    def file_system(self, name: str) -> int:
        return hash(self._mount(name))

    def free(self, name: str) -> tuple[int, int | None]:
        return self.room[self._mount(name)]


@pytest.mark.parametrize(
    ("room", "found"),
    [
        ({"/": (100_000, 10**6)}, []),
        ({"/": (100_000, None)}, []),
        ({"/": (1000, None)}, ["1000 MB free on the file system of /etc, /opt, /usr, /var/cache, /var/lib"]),
        ({"/": (100_000, 30)}, ["30 inodes free on the file system of /etc, /opt, /usr, /var/cache, /var/lib"]),
        ({"/": (100_000, None), "/opt/": (200, None)}, ["200 MB free on the file system of /opt"]),
        ({"/": (3, None), "/usr/": (9000, 10**6), "/var/": (9000, 10**6), "/opt/": (9000, 10**6)}, [SMALL_ROOT]),
    ],
    ids=["enough", "no limit of inodes", "a full disk", "no inodes", "a small disk at /opt", "a full root"],
)
def test_a_disk_without_room_is_refused(host: Host, room: dict[str, tuple[int, int | None]], found: list[str]) -> None:
    assert [one.found for one in check_room(Disks(host.root, room), ["rabbitmq", "celery"])] == found


@pytest.mark.parametrize(("available", "refused"), [(350_000, True), (800_000, False)])
def test_a_host_without_memory_is_refused(host: Host, available: int, refused: bool) -> None:
    memory = host.path("/proc/meminfo")
    memory.parent.mkdir(parents=True, exist_ok=True)
    memory.write_text(f"MemTotal: 1000000 kB\nMemAvailable:   {available} kB\nSwapFree:          5000 kB\n")
    services = ["rabbitmq", "redis", "postgresql", "nginx", "supervisor", "celery", "flower"]
    room = Disks(host.root, {"/": (100_000, None)})
    said = ["355 MB of memory and swap available"] if refused else []
    assert [one.found for one in check_room(room, services)] == said
    assert not list(check_room(room, ["redis"])), "what is there already is not counted"


def test_a_service_that_is_there_needs_no_more_room(host: Host) -> None:
    assert list(check_room(Disks(host.root, {"/": (10, 1)}), [])) == []


def test_the_room_of_a_real_file_system_is_read(tmp_path: Path) -> None:
    """A folder that does not exist yet belongs to the file system of the folder above it."""
    real = Read(str(tmp_path))
    megabytes, inodes = real.free("/var/lib/nothing/yet")
    assert megabytes > 0
    assert inodes is None or inodes > 0
    assert real.file_system("/var/lib/nothing") == tmp_path.stat().st_dev


def test_a_host_that_ran_flower_alone_may_get_the_application(host: Host) -> None:
    """Flower's logs are in the folder of the application's."""
    host.write("/var/log/celery/flower.log", "x")
    files = ["/etc/celery", "/var/log/celery"]
    application = {"root": "/opt/celery", "home": "/var/lib/celery", "files": files}
    assert len(host.found("celery", **application)) == 1
    host.path("/opt/flower/deps/0123456789ab").mkdir(parents=True)
    assert host.found("celery", **application) == []


# --- the clock --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "advice"),
    [("chrony", "`systemctl status chrony` on the host says why"), ("", "install systemd-timesyncd or chrony")],
)
def test_a_clock_that_nothing_keeps_right_is_warned_of(
    host: Host, monkeypatch: pytest.MonkeyPatch, unit: str, advice: str
) -> None:
    """With the error that the kernel expects, before the first deployment. A container has no clock of its own."""
    said: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda _, text: said.append(text))
    monkeypatch.setattr(clock, "kernel_clock", lambda: (False, 16.0))
    if unit:
        host.write(f"/usr/lib/systemd/system/{unit}.service", "")
    everything(host)
    (warning,) = said
    assert warning.startswith(
        "a: The clock is not synchronised: the kernel expects an error of up to 16 s, which grows"
    )
    assert advice in warning
    monkeypatch.setattr(clock, "kernel_clock", lambda: (True, 0.01))
    everything(host)
    monkeypatch.setattr(clock, "kernel_clock", lambda: (False, 16.0))
    host.write("/run/systemd/container", "podman")
    everything(host)
    host.path("/run/systemd/container").unlink()
    for name in ("rabbitmq-server", "redis-server", "postgresql@17-main", "nginx", "supervisor"):
        host.claim(f"{name}.service")
    for name in ("celery", "flower"):
        host.path(f"/opt/{name}/deps").mkdir(parents=True)
    everything(host)
    assert said == [warning]


def test_the_clock_of_a_real_kernel_is_read() -> None:
    synchronised, wrong = clock.kernel_clock()
    assert isinstance(synchronised, bool)
    assert 0 <= wrong < 1000
