"""What goes from a host, and what stays.

A host is a folder with the files of a real host; its commands are played by `Commands`, which keeps what they would
change there.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.rendering import Platform

from ansible_collections.celery_on_hosts.platform.plugins.module_utils import block, names  # isort: skip
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.check import check  # isort: skip
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.host import Host  # isort: skip
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.packages import Record, parse  # isort: skip
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.removal import services  # isort: skip
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.removal.plan import plan  # isort: skip
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.removal.step import (  # isort: skip
    Removal,
    RemovalError,
)
from ansible_collections.celery_on_hosts.platform.plugins.modules import redis_users  # isort: skip
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.removal import (  # isort: skip
    removal_notes,
    removal_plan,
)

PACKAGES = ("supervisor", "nginx", "rabbitmq-server", "redis-server", "postgresql-17", "logrotate")
UNITS = {
    "supervisor.service": ["/etc/supervisor/supervisord.conf", "/etc/systemd/system/supervisor.service.d/celery.conf"],
    "nginx.service": ["/etc/nginx/conf.d/celery.conf", "/etc/nginx/sites-enabled/default"],
    "logrotate.timer": [],
    "epmd.socket": ["/etc/systemd/system/epmd.socket.d/celery.conf"],
    "rabbitmq-server.service": ["/etc/rabbitmq/rabbitmq-env.conf", "/etc/rabbitmq/definitions.json"],
    "redis-server.service": ["/etc/redis/redis.conf"],
    "postgresql@17-main.service": [
        "/etc/postgresql/17/main/pg_hba.conf",
        "/etc/postgresql/17/main/conf.d/celery.conf",
        "/etc/systemd/system/postgresql@.service.d/celery.conf",
    ],
}
WITH_DATA = {name for name in UNITS if name.startswith(("epmd", "rabbitmq", "redis", "postgresql"))}
OWN_PROGRAM = "; Managed by Ansible for {}. Changes here are lost.\n[program:{}]\n"


class Commands:
    """The commands of a host, which change its files as real ones do.

    Args:
        host: the host.
    """

    def __init__(self, host: Fake) -> None:
        self.host = host
        self.units = {name: ["active", "enabled"] for name in UNITS} | {"epmd.service": ["active", "enabled"]}
        self.calls: list[str] = []
        self.manual = ["dpkg", *PACKAGES]
        self.also_purged: list[str] = []
        self.roles: list[str] = []
        self.refused_by_nginx: Callable[[], bool] = lambda: False

    def __call__(self, *command: str) -> str:
        self.calls += [" ".join(command)] if command[1:2] != ("show",) else []
        play: Callable[..., str] = getattr(self, command[0].replace("-", "_"))
        return play(*command[1:])

    def systemctl(self, verb: str, *words: str) -> str:
        name = next((word for word in words if not word.startswith("-")), "")
        unit = self.units.get(name, ["inactive", ""])
        if verb == "show":
            return "ActiveState={}\nUnitFileState={}\n".format(*unit)
        if verb in ("start", "restart", "try-restart"):
            unit[0] = "active" if verb != "try-restart" else unit[0]
        elif verb == "stop":
            unit[0] = "inactive"
        elif verb in ("enable", "disable"):
            unit[1] = f"{verb}d"
        return ""

    def nginx(self, *_: str) -> str:
        if self.refused_by_nginx():
            raise RemovalError("a duplicate default server")
        return ""

    def apt_mark(self, _: str) -> str:
        return "\n".join(self.manual)

    def apt_get(self, *words: str) -> str:
        packages = [word for word in words if word in self.host.packages or word in self.also_purged]
        if words[0] == "-s":
            return "\n".join(f"Purg {name} [1]" for name in [*packages, *self.also_purged])
        for name in packages:
            self.host.packages.pop(name)
        return ""

    def userdel(self, name: str) -> str:
        path = self.host.path("/etc/passwd")
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(line for line in lines if not line.startswith(f"{name}:")))
        return ""

    def groupdel(self, name: str) -> str:
        self.host.path("/etc/group").write_text("root:x:0:\n")
        return ""

    def runuser(self, *_: str) -> str:
        return "\n".join(self.roles)

    def rabbitmqctl(self, _: str, verb: str, *words: str) -> str:
        users = ["shop", "operator", "celery_0123abcd"]
        listed = json.dumps([{"user": name, "tags": []} for name in users])
        return {"list_users": listed, "list_vhosts": "/\ncelery\nshop\n"}.get(verb, "")

    def pg_dropcluster(self, _: str, version: str, name: str) -> str:
        folder = self.host.path(f"/etc/postgresql/{version}/{name}")
        for path in folder.glob("*.conf"):
            path.unlink()
        if not any((folder / "conf.d").iterdir()):  # files that others have put there stay
            shutil.rmtree(folder)
        shutil.rmtree(self.host.path(f"/var/lib/postgresql/{version}/{name}"))
        return ""

    def pg_createcluster(self, version: str, name: str) -> str:
        self.host.write(f"/etc/postgresql/{version}/{name}/start.conf", "auto\n")
        self.host.write(f"/etc/postgresql/{version}/{name}/postgresql.conf")
        return ""


class Fake(Host):
    """A host on which the platform is deployed.

    Args:
        root: its root folder.
        installed: the packages that the platform installed.
    """

    def __init__(self, root: Path, installed: tuple[str, ...] = PACKAGES) -> None:
        super().__init__(str(root))
        self.packages = parse("".join(f"installed\t{name}\t\t\n" for name in ("dpkg", *PACKAGES)))
        self.run = Commands(self)
        record = Record(self.path(names.PACKAGES))
        record.begin(PACKAGES, {name: one for name, one in self.packages.items() if name not in installed})
        record.end(self.packages)
        for unit, files in UNITS.items():
            self._configure(unit, files)
        for name in ("celery", "celerybeat"):
            self.write(f"/etc/supervisor/conf.d/{name}.conf", OWN_PROGRAM.format("celery", name))
        self.write("/etc/supervisor/conf.d/flower.conf", OWN_PROGRAM.format("flower", "flower"))
        for path in names.CELERY_FILES[4:]:
            self.write(path)
        for path in ("/opt/celery", "/opt/flower"):
            self.write(f"{path}/deps/0123456789ab/module.py")
            self.write(f"{path}/releases/0123456789ab/release.json")
            self.path(f"{path}/current").symlink_to("releases/0123456789ab")
        self.write("/etc/celery/platform.json")
        self.write("/etc/celery/environment")
        self.write("/etc/flower/environment")
        self.write("/var/log/celery/celery.log")
        self.write("/var/lib/celery/schedule")
        self.write("/run/celery/celery.json")
        self.write("/etc/ansible/facts.d/celery.fact")
        self.write("/etc/ansible/facts.d/celery_passwords.fact")
        self.write(
            "/etc/passwd",
            "olga:x:1000:1000::/home/olga:/bin/bash\n"
            "celery:x:4000001:4000001::/var/lib/celery:/usr/sbin/nologin\n"
            "flower:x:4000002:4000002::/:/usr/sbin/nologin\n",
        )
        self.write("/etc/group", "celery-operators:x:900:olga\n")
        self.write("/var/lib/rabbitmq/mnesia/rabbit@localhost/msg_stores/vhosts/1/.vhost", "celery")
        self.write("/var/lib/rabbitmq/mnesia/rabbit@own/LATEST.LOG")
        self.write("/var/lib/redis/appendonlydir/appendonly.aof.manifest")
        self.write("/etc/redis/users.acl")
        self.write("/var/lib/postgresql/17/main/base/16384/1")
        self.write("/etc/postgresql/17/main/postgresql.conf")
        self.write("/var/log/supervisor/supervisord.log")
        self.write("/etc/postgresql/17/main/start.conf", "# comment\nauto\n")
        self.path("/proc").mkdir()

    def _configure(self, unit: str, files: list[str]) -> None:
        kept: dict[str, Any] = {}
        for name in files:
            kept[name] = {"state": "absent"}
            if name in ("/etc/supervisor/supervisord.conf", "/etc/redis/redis.conf"):
                kept[name] = {"state": "file", "text": "; own\n", "mode": 0o640, "uid": os.getuid(), "gid": os.getgid()}
            if name.endswith("sites-enabled/default"):
                kept[name] = {"state": "link", "target": "/etc/nginx/sites-available/default"}
                self.path(name).parent.mkdir(parents=True)
            else:
                self.write(name, "# Managed by Ansible.\n")
        before = {"ActiveState": "active", "UnitFileState": "enabled"}
        self.write(f"{names.ORIGINALS}/{unit}.json", json.dumps({"unit": before, "files": kept}))
        self.write(f"{names.STAMPS}/{unit}.json", json.dumps(dict.fromkeys(files, "digest")))

    def write(self, name: str, text: str = "something\n") -> Path:
        """Write a file."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def plan(self, data: bool = False) -> Removal:
        """Read the host anew, and plan."""
        host = Host(str(self.root))
        return plan(host, self.packages, data, self.run)

    def remove(self, data: bool = False) -> Removal:
        """Remove the platform."""
        removal = self.plan(data)
        for step in removal.goes:
            step.do()
        return removal

    def files(self) -> set[str]:
        """Return all files and links."""
        return {self.name(path) for path in self.root.rglob("*") if path.is_symlink() or not path.is_dir()}


@pytest.fixture
def host(tmp_path: Path) -> Fake:
    """Return a host whose services the platform installed."""
    return Fake(tmp_path)


@pytest.fixture
def used(tmp_path: Path) -> Fake:
    """Return a host that had the services before, unused."""
    return Fake(tmp_path, installed=("logrotate",))


def goes(removal: Removal) -> str:
    """Return what goes, as one text."""
    return "\n".join(step.what for step in removal.goes)


def test_programs_files_accounts_and_services_without_data_go(host: Fake) -> None:
    removal = host.remove()
    left = host.files()
    assert not [
        path for path in left if path.startswith(("/opt", "/etc/celery", "/etc/flower", "/usr", "/run", "/var/log/c"))
    ]
    assert not [path for path in left if "supervisor/conf.d" in path or "sudoers" in path or "tmpfiles" in path]
    assert host.path("/etc/passwd").read_text() == "olga:x:1000:1000::/home/olga:/bin/bash\n"
    assert "celery-operators" not in host.path("/etc/group").read_text()
    assert host.path("/etc/supervisor/supervisord.conf").read_text() == "; own\n"
    assert host.path("/etc/nginx/sites-enabled/default").is_symlink()
    assert not host.path("/etc/nginx/conf.d/celery.conf").exists()
    assert not host.path("/etc/systemd/system/supervisor.service.d").exists()
    assert host.run.units["nginx.service"] == host.run.units["supervisor.service"] == ["inactive", "disabled"]
    for text in ("celery, celerybeat, flower", "/usr/local/bin/celery-dead", "the accounts celery and flower"):
        assert text in goes(removal)
    assert not [call for call in host.run.calls if call.startswith("apt-get")]


def test_services_with_data_are_stopped_and_keep_everything(host: Fake) -> None:
    kept = [path for path in host.files() if path.startswith(("/var/lib", "/etc/rabbitmq", "/etc/redis"))]
    removal = host.remove()
    gone = {f"{folder}/{name}.json" for folder in (names.STAMPS, names.ORIGINALS) for name in UNITS.keys() - WITH_DATA}
    assert set(kept) - host.files() == gone
    assert {name for name, unit in host.run.units.items() if unit == ["inactive", "disabled"]} >= WITH_DATA
    assert host.path("/etc/postgresql/17/main/start.conf").read_text() == "# comment\nmanual\n"
    assert "/var/lib/celery, the data" in "\n".join(removal.stays)
    assert "DATA=1" in "\n".join(removal.stays)
    assert host.path("/etc/ansible/facts.d/celery_passwords.fact").exists(), (
        "the services' credentials are as they were"
    )


@pytest.mark.parametrize("data", [False, True])
def test_a_second_removal_finds_nothing(host: Fake, data: bool) -> None:
    host.remove(data)
    before = host.files()
    assert goes(host.remove(data)) == ""
    assert host.files() == before


@pytest.mark.parametrize("data", [False, True])
def test_the_next_deployment_accepts_the_host(host: Fake, data: bool) -> None:
    if not data:
        host.write("/etc/celery/notes.txt")
    host.remove(data)
    claims = [
        claim | {"listen": []} for claim in Platform().described()["claims"] if claim["name"] in ("celery", "flower")
    ]
    if data:
        shutil.rmtree(host.path("/var/lib"))
    found = [one for one in check(Host(str(host.root)), claims) if one.service != "disk"]
    assert found == []


def test_the_data_of_somebody_elses_celery_is_still_refused(host: Fake) -> None:
    host.remove(data=True)
    host.write("/var/lib/celery/own")
    (claim,) = [claim | {"listen": []} for claim in Platform().described()["claims"] if claim["name"] == "celery"]
    assert "/var/lib/celery, a folder" in check(Host(str(host.root)), [claim])[0].found


def test_with_data_nothing_is_left(host: Fake) -> None:
    host.remove()
    removal = host.remove(data=True)
    left = [path for path in host.files() if path.startswith(("/var", "/etc"))]
    ours = ("celery", "flower", "rabbitmq", "postgresql", "redis/users", "appendonly", "supervisord.log")
    assert [path for path in left if any(name in path for name in ours)] == []
    assert not host.path(names.STATE).exists()
    assert list(host.packages) == ["dpkg"]
    assert "rabbitmq-server" in goes(removal)
    assert removal.stays == []


def test_on_a_used_host_the_services_become_as_they_were(used: Fake) -> None:
    used.remove(data=True)
    assert {name for name, (state, _) in used.run.units.items() if state == "active"} >= UNITS.keys() - {
        "logrotate.timer"
    }
    assert used.path("/etc/redis/redis.conf").read_text() == "; own\n"
    assert list(used.path("/var/lib/redis").iterdir()) == []
    assert used.path("/var/lib/rabbitmq/mnesia/rabbit@own/LATEST.LOG").exists(), "the node of before"
    assert not used.path("/var/lib/rabbitmq/mnesia/rabbit@localhost").exists()
    assert used.path("/etc/postgresql/17/main/start.conf").read_text() == "auto\n"
    assert used.packages.keys() == {"dpkg", *PACKAGES} - {"logrotate"}


def test_a_service_that_was_off_before_is_off_again(used: Fake) -> None:
    path = used.path(f"{names.ORIGINALS}/nginx.service.json")
    kept = json.loads(path.read_text())
    path.write_text(json.dumps(kept | {"unit": {"ActiveState": "inactive", "UnitFileState": "disabled"}}))
    used.remove()
    assert used.run.units["nginx.service"] == ["inactive", "disabled"]


@pytest.mark.parametrize("data", [False, True])
def test_what_others_run_goes_on(host: Fake, data: bool) -> None:
    host.write("/etc/supervisor/conf.d/mail.conf", "[program:mail]\n")
    host.write("/etc/nginx/sites-enabled/blog", "server {}\n")
    host.write("/etc/celery/notes.txt")
    removal = host.remove(data)
    for path in ("/etc/supervisor/conf.d/mail.conf", "/etc/nginx/sites-enabled/blog", "/etc/celery/notes.txt"):
        assert host.path(path).exists()
    assert host.run.units["supervisor.service"] == host.run.units["nginx.service"] == ["active", "enabled"]
    assert host.run.units["logrotate.timer"] == ["active", "enabled"], "their logs are rotated"
    assert "systemctl restart supervisor.service" not in host.run.calls
    assert "systemctl reload nginx.service" in host.run.calls
    assert {"supervisor", "nginx"} <= host.packages.keys()
    assert "/etc/supervisor/conf.d/mail.conf" in "\n".join(removal.stays)
    assert "notes.txt" in "\n".join(removal.notes)


@pytest.mark.parametrize("data", [False, True])
@pytest.mark.parametrize(
    ("path", "name", "unit"),
    [
        ("/var/lib/postgresql/17/main/base/16999/1", "PostgreSQL", "postgresql@17-main.service"),
        ("/var/lib/rabbitmq/mnesia/rabbit@localhost/msg_stores/vhosts/2/.vhost", "RabbitMQ", "rabbitmq-server.service"),
    ],
)
def test_a_service_with_data_of_others_runs_on_as_it_is(
    host: Fake, data: bool, path: str, name: str, unit: str
) -> None:
    host.write(path, "shop")
    removal = host.remove(data)
    assert f"{name} runs on with its configuration and all its data" in "\n".join(removal.stays)
    assert host.run.units[unit] == ["active", "enabled"]
    assert host.path(path).exists()
    assert host.claimed(unit)
    assert goes(host.remove(data)) == ""


@pytest.mark.parametrize("data", [False, True])
def test_a_postgresql_of_others_loses_what_is_the_platforms(host: Fake, data: bool) -> None:
    """It runs on, with its own rules; the database goes with the data alone."""
    unit, hba = "postgresql@17-main.service", "/etc/postgresql/17/main/pg_hba.conf"
    for name in ("/etc/postgresql/17/main/conf.d/celery.conf", "/etc/systemd/system/postgresql@.service.d/celery.conf"):
        host.path(name).unlink()
    kept = {hba: {"state": "file", "text": "own\n", "mode": 0o640, "uid": os.getuid(), "gid": os.getgid()}}
    host.write(f"{names.ORIGINALS}/{unit}.json", json.dumps({"unit": {"ActiveState": "active"}, "files": kept}))
    host.write(hba, block.with_block("own\nmore of others\n", "ours\n")).chmod(0o640)
    host.run.roles = ["blog", "celery", "celery_0123abcd", "celery_shop"]
    removal = host.remove(data)
    assert host.path(hba).read_text() == "own\nmore of others\n"
    assert host.path(hba).stat().st_mode & 0o777 == 0o640
    assert f"systemctl reload {unit}" in host.run.calls
    assert not [call for call in host.run.calls if "stop" in call and "postgresql" in call]
    drops = [call for call in host.run.calls if "DROP" in call]
    if data:
        (drop,) = drops
        assert "-c DROP DATABASE IF EXISTS celery WITH (FORCE) -c DROP ROLE celery -c DROP ROLE celery_0123abcd" in drop
        assert "shop" not in drop
        assert "postgresql-17" not in goes(removal)
        assert not host.claimed(unit)
    else:
        assert drops == []
        assert "The database celery and its roles in PostgreSQL, which runs on" in "\n".join(removal.stays)
        assert "rules" not in goes(host.plan())
        assert host.claimed(unit)


def test_debians_site_stays_out_where_it_collides(host: Fake) -> None:
    host.write("/etc/nginx/conf.d/blog.conf", "server { listen 80 default_server; }\n")
    host.run.refused_by_nginx = lambda: host.path("/etc/nginx/sites-enabled/default").is_symlink()
    removal = host.remove()
    assert not host.path("/etc/nginx/sites-enabled/default").is_symlink()
    assert "was not put back" in "\n".join(removal.notes)
    assert "systemctl reload nginx.service" in host.run.calls


def test_an_nginx_that_others_broke_is_not_reloaded(host: Fake) -> None:
    host.write("/etc/nginx/conf.d/blog.conf", "server {\n")
    host.run.refused_by_nginx = lambda: True
    removal = host.remove()
    assert "nginx was not reloaded: a duplicate" in "\n".join(removal.notes)
    assert "systemctl reload nginx.service" not in host.run.calls


def test_packages_that_others_asked_for_stay(host: Fake) -> None:
    host.packages |= parse("installed\tshop\t\tredis-server\n")
    removal = host.remove(data=True)
    assert host.packages.keys() == {"dpkg", "shop", "redis-server"}
    assert "Packages that others need or asked for: redis-server" in "\n".join(removal.stays)


def test_apt_may_remove_no_other_package(host: Fake) -> None:
    host.run.also_purged = ["shop"]
    with pytest.raises(RemovalError, match="apt would remove shop"):
        host.remove(data=True)
    assert PACKAGES[0] in host.packages


def test_accounts_of_others_stay(host: Fake) -> None:
    text = host.path("/etc/passwd").read_text().replace("/var/lib/celery:", "/home/celery:")
    host.path("/etc/passwd").write_text(text)
    host.remove()
    assert "celery:x:4000001" in host.path("/etc/passwd").read_text()


def test_nothing_goes_from_a_host_that_the_platform_never_had(tmp_path: Path) -> None:
    host = Fake(tmp_path)
    shutil.rmtree(host.path(names.STATE))
    shutil.rmtree(host.path("/opt"))
    for path in host.glob("/etc/supervisor/conf.d/*"):
        path.write_text("[program:celery]\n")
    host.path("/etc/ansible/facts.d/celery_passwords.fact").unlink()
    before = host.files()
    assert goes(host.remove(data=True)) == ""
    assert host.files() == before


@pytest.mark.parametrize("at", range(12))
def test_a_removal_that_was_cut_off_is_finished_by_the_next(host: Fake, at: int) -> None:
    for step in host.plan(data=True).goes[:at]:
        step.do()
    host.remove(data=True)
    assert not host.path(names.STATE).exists()
    assert not host.path("/opt/celery").exists()
    assert list(host.packages) == ["dpkg"]


def test_a_host_of_an_older_version_gets_its_packages_files_back(host: Fake) -> None:
    shutil.rmtree(host.path(names.ORIGINALS))
    digest = "0" * 32
    host.write(
        "/var/lib/dpkg/status",
        "Package: supervisor\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n"
        "Maintainer: a\nDescription: b\n"
        f"Conffiles:\n /etc/supervisor/supervisord.conf {digest}\n",
    )
    host.path("/var/lib/dpkg/updates").mkdir()
    host.path("/var/lib/dpkg/info").mkdir()
    host.remove()
    (call,) = [call for call in host.run.calls if call.startswith("apt-get install")]
    assert "--force-confmiss" in call
    assert call.endswith(" supervisor")


def test_each_service_of_the_platform_can_be_removed() -> None:
    """A new service has a row here, too, and the files of the module redis_users are its defaults."""
    known = {service.package.removesuffix("-{version}") for service in (*services.SERVICES, services.LOGROTATE)}
    assert {"python3-psycopg2", "python3-redis"} >= set(Platform().described()["packages"]) - known
    documented = redis_users.DOCUMENTATION
    assert all(f"default: {path}" in documented for path in services.REDIS_SECRETS)


def test_files_of_the_roles_are_those_that_go() -> None:
    platform = Platform()
    written = {path for role in ("celery", "flower") for path in platform.files(role)}
    known = (*names.CELERY_FILES, *names.FLOWER_FILES, names.REPORTS)
    assert {path for path in written if not path.startswith(known)} == set()


def test_settings_of_the_application_are_those_that_go(host: Fake) -> None:
    platform = Platform(celery_services_ca="a certificate", celery_message_signing=True)
    for entry in platform.described()["celery"]["files"]:
        host.write(entry["dest"])
    host.remove()
    assert not host.path(names.SETTINGS).exists()


def test_what_goes_is_shown_host_by_host() -> None:
    found = {
        "a": {"goes": ["nginx, stopped", "x" * 200], "stays": ["/var/lib/celery"], "notes": []},
        "b": {"goes": [], "stays": [], "notes": ["nginx was not reloaded"]},
    }
    said = removal_plan(found, removes=False, data=True)
    assert said.startswith("a\n  goes:\n  - nginx, stopped\n")
    assert "  stays:\n  - /var/lib/celery\n\nb\n  nothing goes\n" in said
    assert said.endswith("make remove DATA=1 YES=1")
    assert "YES=1" not in removal_plan(found, removes=True, data=True)
    assert removal_plan({"b": found["b"]}, removes=True, data=False).endswith("There is nothing to remove.")
    assert removal_notes(found) == "b\n  - nginx was not reloaded"
    assert removal_notes({"a": {"skipped": True}}) == ""


@pytest.mark.parametrize("data", [False, True])
def test_a_rabbitmq_of_others_loses_what_is_the_platforms(host: Fake, data: bool) -> None:
    """It runs on, with its own files; the virtual host goes with the data alone."""
    unit, conf = "rabbitmq-server.service", "/etc/rabbitmq/rabbitmq-env.conf"
    host.path("/etc/rabbitmq/definitions.json").unlink()
    host.write(f"{names.STAMPS}/{unit}.json", json.dumps({names.RABBITMQ_DEFINITIONS: "1"}))
    kept = {names.RABBITMQ_DEFINITIONS: {"state": "absent"}}
    host.write(f"{names.ORIGINALS}/{unit}.json", json.dumps({"unit": {"ActiveState": "active"}, "files": kept}))
    host.write(conf, "NODENAME=shop\n")
    host.write(names.RABBITMQ_DEFINITIONS, "{}")
    removal = host.remove(data)
    assert host.path(conf).read_text() == "NODENAME=shop\n"
    assert not host.path(names.RABBITMQ_DEFINITIONS).exists()
    assert not [call for call in host.run.calls if "stop" in call and "rabbitmq-server" in call]
    asked = [call.removeprefix("rabbitmqctl --silent ") for call in host.run.calls if "rabbitmqctl" in call]
    assert asked[1:3] == ["delete_user operator", "delete_user celery_0123abcd"]
    assert [call for call in asked if "vhost" in call] == (["list_vhosts name", "delete_vhost celery"] if data else [])
    assert "rabbitmq-server" not in goes(removal).replace("rabbitmq-server.service", "")
    assert host.claimed(unit) is not data
    if not data:
        assert "The virtual host celery in RabbitMQ, which runs on" in "\n".join(removal.stays)
        assert "RabbitMQ" not in goes(host.plan())
