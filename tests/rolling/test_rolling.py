"""Releases on several hosts: inventories/lab-workers, on hosts of this test's own. The tests build on each other.

Not a part of `make test`, for it takes ten minutes on two cores: `make rolling`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.support import ROOT, eventually, make

FIRST, *OTHERS = HOSTS = ["celery1", "worker1", "worker2"]
# What only a worker runs into.
DIES = """
import sys
if "worker" in sys.argv:
    raise SystemExit("this release has no workers")
"""
# A worker is up and consumes, and each task ends its process: what it took goes to another worker.
TAKES_AND_DIES = """
import os
from celery.signals import task_prerun
task_prerun.connect(lambda **_: os._exit(1), weak=False)
"""
# Up to here it works on the hosts before.
DIES_ON_ONE = f"""
import socket
if socket.gethostname() == "{OTHERS[-1]}":
    {DIES.strip().replace(chr(10), chr(10) + "    ")}
"""
# Which ports are open, as another host sees them.
OPEN = """
import socket
def is_open(port):
    with socket.socket() as there:
        there.settimeout(3)
        return there.connect_ex(("celery1", port)) == 0
print([port for port in (22, 80, 4369, 5432, 5555, 5672, 6379, 8000, 9001, 15672, 25672) if is_open(port)])
"""

WORKER = {"name": "celery", "queues": ["celery"]}
State = dict[str, Any]


class Lab:
    """The hosts, and the verbs on them.

    Args:
        inventory: a copy of inventories/lab-workers.
    """

    def __init__(self, inventory: Path) -> None:
        self.inventory = inventory

    def make(self, *words: str, works: bool | None = True) -> str:
        """Run a verb, and return what it says; whether it has to work, or to fail, or may do either."""
        return make(self.inventory, *words, works=works)

    def run(self, host: str, command: str) -> str:
        """Run a command on a host, as root."""
        done = subprocess.run(
            [ROOT / "bin/ssh", self.inventory, host, command], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def state(self, host: str) -> State:
        """The release that is current on a host, and the main process of each program, when none starts or leaves."""
        said = eventually(
            lambda: self.run(host, "readlink /opt/celery/current; supervisorctl status || true"),  # 3: not all run
            lambda said: not re.search("leaving|STARTING", said),
            within=60,
        )
        programs = dict(re.findall(r"^(\S+) +RUNNING +pid (\d+)", said, re.MULTILINE))
        return {"current": said.splitlines()[0].removeprefix("releases/"), "programs": programs}

    def states(self) -> dict[str, State]:
        """The same of every host."""
        return {host: self.state(host) for host in HOSTS}

    def nodes(self) -> set[str]:
        """The workers that answer."""
        return set(json.loads(self.run(FIRST, "celery -A tasks inspect ping --json")))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Hosts that are deployed to once, and removed in the end."""
    inventory = ROOT / ".cache/rolling/inventory"
    lab = Lab(inventory)
    if inventory.exists():  # of a run that was cut off
        lab.make("destroy")
    shutil.rmtree(inventory, ignore_errors=True)
    left_out = shutil.ignore_patterns(".lab", "lab_hosts.yml", "secrets")
    shutil.copytree(ROOT / "inventories/lab-workers", inventory, ignore=left_out)
    try:
        lab.make("deploy")
        yield lab
    finally:
        lab.make("destroy")


def changed(folder: Path, code: str) -> str:
    """The application with more code, as a variable for the command line."""
    shutil.copytree(ROOT / "app", folder / "app", ignore=shutil.ignore_patterns(".*", "__pycache__", "tests"))
    with (folder / "app/tasks/tasks.py").open("a", encoding="utf-8") as file:
        file.write(code)
    return f"-e celery_app_source={folder}/app"


def test_every_host_works(lab: Lab) -> None:
    """A second deployment finds nothing to do."""
    assert lab.nodes() == {f"celery@{host}" for host in HOSTS}
    status = lab.make("status")
    for host in HOSTS:
        assert re.search(rf"^{host} +healthy ", status, re.MULTILINE), status
    lab.make("releases")
    assert "nothing to change" in lab.make("deploy")


def test_other_hosts_reach_what_they_need(lab: Lab) -> None:
    """And neither gunicorn, Flower, supervisord nor Erlang."""
    assert json.loads(lab.run("worker1", f"python3 -c '{OPEN}'")) == [22, 80, 5432, 5672, 6379, 15672]


@pytest.mark.parametrize("code", [DIES, TAKES_AND_DIES], ids=["its worker dies", "its tasks die"])
def test_a_bad_release_stays_on_the_first_host(lab: Lab, tmp_path: Path, code: str) -> None:
    """It goes back there; nothing happened on the others, and they refuse it too."""
    before = lab.states()
    release = f"{changed(tmp_path, code)} -e '{{\"celery_health_timeout\": 20}}'"
    said = lab.make("release", f"ARGS={release}", works=False)
    assert "does not work" in said
    assert "No other host was touched." in said
    after = lab.states()
    assert {host: after[host] for host in OTHERS} == {host: before[host] for host in OTHERS}
    assert after[FIRST]["current"] == before[FIRST]["current"]
    listed = lab.make("releases")
    for host in HOSTS:
        assert re.search(rf"! {host}: \w+ is bad: ", listed), listed
    refused = lab.make("release", f"ARGS={release}", "LIMIT=worker1", works=False)
    assert "is marked bad since" in refused
    lab.run(FIRST, "celery-dead drop --all --yes || true")  # what killed its process again and again


def test_settings_that_do_not_work_stay_on_the_first_host(lab: Lab, tmp_path: Path) -> None:
    """They go back there, and are not refused: what was wrong may have been elsewhere."""
    before = lab.states()
    variables = tmp_path / "variables.json"
    variables.write_text(json.dumps({"celery_workers": [WORKER | {"arguments": ["--no-such-option"]}]}))
    said = lab.make("deploy", f"ARGS=-e @{variables}", works=False)
    assert "The new settings do not work: " in said
    assert "No other host was touched." in said
    assert lab.states() == before
    assert "nothing to change" in lab.make("deploy")


def test_a_release_that_fails_in_a_later_step_stays_where_it_works(lab: Lab, tmp_path: Path) -> None:
    """All hosts of that step go back, also those on which it would work."""
    before = {host: state["current"] for host, state in lab.states().items()}
    variables = tmp_path / "variables.json"
    variables.write_text(json.dumps({"celery_health_timeout": 20, "celery_serial": [1, 2]}))
    said = lab.make("release", f"ARGS={changed(tmp_path, DIES_ON_ONE)} -e @{variables}", works=False)
    assert f"On {FIRST} it works and stays" in said
    after = {host: state["current"] for host, state in lab.states().items()}
    assert after == before | {FIRST: after[FIRST]} != before
    lab.make("rollback", f"TO={before[FIRST]}")
    assert {host: state["current"] for host, state in lab.states().items()} == before


def test_a_release_goes_from_host_to_host(lab: Lab, tmp_path: Path) -> None:
    """The first one alone, then the others; its commands run once; no task is lost."""
    before = lab.state(FIRST)["current"]
    code = "from tasks import count; print(*[count.delay(1).id for _ in range(60)])"
    sent = lab.run(FIRST, f"celery-python -c '{code}'").split()
    variables = tmp_path / "variables.json"
    command = "python -c \"open('/var/lib/celery/ran','a').write('x')\""
    variables.write_text(json.dumps({"celery_app_release_commands": [command]}))
    lab.make("release", f"ARGS={changed(tmp_path, '# another one')} -e @{variables}")
    current = {state["current"] for state in lab.states().values()}
    assert len(current) == 1
    assert before not in current
    lab.make("releases")
    ran = {host: lab.run(host, "cat /var/lib/celery/ran 2>/dev/null || true") for host in HOSTS}
    assert ran == {FIRST: "x"} | dict.fromkeys(OTHERS, "")
    written = "json.load(open('/opt/celery/releases.json'))['worked'][-1]['time']"
    worked = [lab.run(host, f'python3 -c "import json; print({written})"') for host in HOSTS]
    assert worked == sorted(worked)
    code = f"import tasks; print({{tasks.app.AsyncResult(id).state for id in {sent}}})"
    eventually(lambda: lab.run(FIRST, f'celery-python -c "{code}"'), lambda said: said == "{'SUCCESS'}\n", within=90)


def test_all_hosts_go_back(lab: Lab) -> None:
    """Each runs what it ran before."""
    before = {state["current"] for state in lab.states().values()}
    lab.make("rollback")
    after = {state["current"] for state in lab.states().values()}
    assert len(after) == 1
    assert after != before


def test_a_program_is_restarted_on_every_host(lab: Lab) -> None:
    """And no other one."""
    before = lab.states()
    lab.make("restart", "PROGRAM=celery")
    after = lab.states()
    for host in HOSTS:
        pids = before[host]["programs"], after[host]["programs"]
        assert [name for name in pids[0] if pids[0][name] != pids[1].get(name)] == ["celery"]


def test_a_host_is_drained(lab: Lab, tmp_path: Path) -> None:
    """Not where it alone reads a queue. It stays so through a deployment and a reboot."""
    workers = [
        WORKER,
        {"name": "low", "queues": ["low"], "hosts": ["worker1"]},
    ]
    variables = tmp_path / "variables.json"
    variables.write_text(json.dumps({"celery_workers": workers}))
    refused = lab.make("drain", "HOST=worker1", f"ARGS=-e @{variables}", works=False)
    assert "without worker1 no worker would read low" in refused

    before = lab.states()
    lab.make("drain", "HOST=worker1")
    lab.make("deploy")
    after = lab.states()
    assert after.pop("worker1")["programs"] == {}
    assert "nothing to change" in lab.make("deploy")
    assert after == {host: before[host] for host in after}
    hosts = (lab.inventory / "lab_hosts.yml").read_text()
    (container,) = re.findall(r"lab_container: (\S+-worker1)$", hosts, re.MULTILINE)
    podman = ["podman"] if os.getuid() == 0 else ["sudo", "-n", "podman"]
    subprocess.run([*podman, "restart", container], check=True, capture_output=True, cwd="/run")
    eventually(
        lambda: lab.make("status", works=None), lambda said: "worker1  degraded" in re.sub(" +", "  ", said), within=60
    )
    assert lab.nodes() == {"celery@celery1", "celery@worker2"}
    assert "worker1: its workers are out of service" in lab.make("releases")

    lab.make("undrain", "HOST=worker1")
    assert lab.nodes() == {f"celery@{host}" for host in HOSTS}
    assert {host: lab.state(host) for host in after} == after


def test_passwords_are_replaced_on_every_host(lab: Lab) -> None:
    """Also on one that is drained. What would tell them to programs alone is refused, and changes nothing."""
    before = lab.states()
    assert "passwords are replaced on all hosts or on none" in lab.make("rotate", "LIMIT=worker1", works=False)
    (lab.inventory / "secrets/redis_app.txt").unlink()  # a rotation that was cut off
    for words in (["release"], ["rollback"], ["drain", "HOST=worker1"], ["deploy", "LIMIT=worker1"]):
        assert f"the services on {FIRST} do not accept the credentials" in lab.make(*words, works=False)
    assert lab.states() == before
    assert "its workers are out of service" not in lab.make("releases")
    lab.make("deploy")

    lab.make("drain", "HOST=worker2")
    url = lab.run("worker1", ". /etc/celery/environment; echo $CELERY_BROKER_URL").strip()
    code = "from tasks import count; print(*[count.delay(1).id for _ in range(60)])"
    sent = lab.run(FIRST, f"celery-python -c '{code}'").split()
    lab.make("rotate")
    code = f"import tasks; print({{tasks.app.AsyncResult(id).state for id in {sent}}})"
    eventually(lambda: lab.run(FIRST, f'celery-python -c "{code}"'), lambda said: said == "{'SUCCESS'}\n", within=90)
    code = f"from kombu import Connection; Connection('{url}', connect_timeout=5).connect()"
    said = lab.run("worker1", f'celery-python -c "{code}" 2>&1 || true')
    assert "ACCESS_REFUSED" in said or "AccessRefused" in said, said
    lab.make("undrain", "HOST=worker2")
    assert lab.nodes() == {f"celery@{host}" for host in HOSTS}
