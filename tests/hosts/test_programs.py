"""The programs as they run: one of each, of the current release, under a unit that stops them safely, with logs."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Any

import pytest

from tests.hosts.support import RELEASES, Site

# What supervisord has loaded, which need not be what its files say.
SUPERVISOR = """
import json, socket, xmlrpc.client, http.client
class Transport(xmlrpc.client.Transport):
    def make_connection(self, host):
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect("/run/supervisor.sock")
        return connection
server = xmlrpc.client.ServerProxy("http://localhost", transport=Transport()).supervisor
print(json.dumps({one["name"]: one for one in server.getAllConfigInfo()}, default=str))
"""


@pytest.fixture(scope="module")
def loaded(site: Site) -> dict[str, dict[str, Any]]:
    """supervisord's programs as it has them in memory."""
    programs: dict[str, dict[str, Any]] = json.loads(site.run("/usr/bin/python3 -c %s", SUPERVISOR))
    return programs


def test_supervisord_runs_the_inventorys_programs(site: Site, loaded: dict[str, dict[str, Any]]) -> None:
    """All of them, no other, and each has one main process."""
    assert sorted(loaded) == sorted(site.platform.programs)
    states = dict(line.split()[:2] for line in site.run("supervisorctl status").splitlines())
    assert states == dict.fromkeys(site.platform.programs, "RUNNING")
    assert sorted(site.processes()) == sorted(site.platform.programs)


def test_each_process_has_a_utf_8_locale(site: Site) -> None:
    """Those that nothing tells one, too: systemd and supervisord have none in a lab host."""
    expected = site.platform.variables["celery_app_environment"].get("LANG", "C.UTF-8")
    pids = [process.pid for processes in site.processes().values() for process in processes]
    files = " ".join(f"/proc/{pid}/environ" for pid in pids)
    without = site.run(f"grep -sLzx 'LANG={expected}' {files}", status=None)
    assert without == "", without


def test_what_a_stop_leaves_is_killed(loaded: dict[str, dict[str, Any]], program: str) -> None:
    """But first it is asked to end. (That the main process alone is asked is seen at a restart.)"""
    found = loaded[program]
    assert (found["stopsignal"], found["killasgroup"], found["autostart"]) == (15, True, True)
    assert found["startretries"] > 1000, "a program that fails for an hour is still started again"


def test_workers_have_time_to_finish(site: Site, loaded: dict[str, dict[str, Any]]) -> None:
    """Longer than the longest task."""
    for worker in site.platform.workers:
        assert loaded[worker.program]["stopwaitsecs"] > site.platform.variables["celery_time_limit"]


def test_systemd_waits_for_the_programs(site: Site, loaded: dict[str, dict[str, Any]]) -> None:
    """What systemd has in force, drop-ins and defaults together."""
    names = ("KillMode", "OOMPolicy", "Restart", "ExecStop", "ActiveState", "UnitFileState")
    said = site.run(f"systemctl show supervisor --property {','.join(names)}")
    found = dict(line.split("=", 1) for line in said.splitlines())
    assert found.pop("ExecStop", "") == "", "nothing that returns before the programs have ended"
    assert found == {
        "KillMode": "mixed",
        "OOMPolicy": "continue",
        "Restart": "always",
        "ActiveState": "active",
        "UnitFileState": "enabled",
    }
    unit = "/org/freedesktop/systemd1/unit/supervisor_2eservice org.freedesktop.systemd1.Service TimeoutStopUSec"
    microseconds = int(site.run(f"busctl get-property org.freedesktop.systemd1 {unit}").split()[1])
    assert microseconds > 1e6 * max(one["stopwaitsecs"] for one in loaded.values())


def test_supervisords_socket_is_for_operators(site: Site) -> None:
    """And it listens nowhere else."""
    assert site.run("stat -c '%a %U %G' /run/supervisor.sock").strip() == "770 root celery-operators"
    assert "supervisord" not in site.run("ss -Hltunp")


def test_programs_run_as_users_of_their_own(site: Site) -> None:
    """None as root, and Flower not as the application."""
    for program, processes in site.processes().items():
        assert {process.user for process in processes} == {"flower" if program == "flower" else "celery"}


def test_each_program_runs_the_current_release(site: Site) -> None:
    """By its working directory, by what workers say of themselves, and by the web side's word."""
    current = PurePosixPath(site.run("readlink -e /opt/celery/current").strip())
    assert str(current.parent) + "/" == RELEASES
    for program, processes in site.processes().items():
        if program != "flower":
            assert {process.folder for process in processes} == {f"{current}/app"}, program
    said = json.loads(site.run("celery -A tasks inspect release --json"))
    assert {node: answer["release"] for node, answer in said.items()} == dict.fromkeys(site.nodes, current.name)
    if {"web", "example"} <= site.platform.features:
        assert site.http("/healthz").json()["release"] == current.name


def test_hosts_use_only_what_the_release_brought(site: Site) -> None:
    """Every package of the application comes from the release, and nobody but root can change it."""
    found = site.python("import json, celery, kombu; print(json.dumps([celery.__file__, kombu.__file__]))")
    assert {path.partition("/deps/")[0] for path in found} == {"/opt/celery"}
    folders = "/opt/celery /opt/flower" if "flower" in site.platform.features else "/opt/celery"
    assert site.run(f"find {folders} \\( ! -user root -o -perm /022 \\) ! -type l -print") == ""


def test_a_workers_own_environment_reaches_it_alone(site: Site) -> None:
    """Entries of celery_workers may have one."""
    programs = site.processes()
    for entry, worker in zip(site.platform.variables["celery_workers"], site.platform.workers, strict=True):
        for name, value in entry.get("environment", {}).items():
            having = [
                program
                for program, (main, *_) in programs.items()
                if f"{name}={value}" in site.run(f"cat /proc/{main.pid}/environ").split("\0")
            ]
            assert having == [worker.program]


# --- logs ------------------------------------------------------------------------------------------------------------


def test_logs_are_for_operators_and_not_for_others(site: Site) -> None:
    """All in one folder."""
    logs = [f"/var/log/celery/{program}.log" for program in site.platform.programs]
    site.run(f"tail -n 1 {' '.join(logs)}", user=site.platform.operator)
    said = site.run(f"cat {' '.join(logs)}", user="nobody", status=1)
    assert said.count("Permission denied") == len(logs)
    assert "Permission denied" in site.run("ls /var/log/celery", user="nobody", status=2)


def test_a_tasks_lines_have_its_name_and_id(site: Site) -> None:
    """From its receipt to its end."""
    (sent,) = site.send("[add.delay(20, 3)]")
    site.python(f"from tasks import app; print(app.AsyncResult({sent!r}).get(timeout=10))")
    log = site.run("grep -hF %s /var/log/celery/celery.log", f"tasks.add[{sent}]")
    assert "received" in log
    assert "succeeded" in log


def test_logs_are_rotated(site: Site, loaded: dict[str, dict[str, Any]], program: str) -> None:
    """Once, by supervisord; the services' own by logrotate."""
    found = loaded[program]
    for stream in ("stdout", "stderr"):
        assert 0 < found[f"{stream}_logfile_maxbytes"] <= 100e6
        assert found[f"{stream}_logfile_backups"] > 0
    assert "/var/log/celery" not in site.run("cat /etc/logrotate.d/*")


def test_services_logs_are_rotated(site: Site) -> None:
    """By a timer that runs now, not from the next start on."""
    assert site.run("systemctl is-active logrotate.timer").strip() == "active"
    rules = site.run("ls /etc/logrotate.d").split()
    services = {"redis-server"}
    services |= {"rabbitmq-server"} if site.platform.broker == "rabbitmq" else set()
    services |= {"nginx"} if "proxy" in site.platform.features else set()
    services |= {"postgresql-common"} if "database" in site.platform.features else set()
    assert services <= set(rules)
