"""What the tests of a deployed host share: what its inventory promises, and how to ask the host.

What is expected comes from the inventory's variables, so that one set of tests serves every scenario.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEFAULTS = ROOT / "roles/platform/defaults/main.yml"
SECRETS = "/root/verify-secrets"  # on the host, while the tests run: NAME=SECRET lines, for root alone
RELEASES = "/opt/celery/releases/"

# What neither Debian's release nor the application can change is proved once for each broker: by our application on
# Debian 13, in the scenarios `default` and `redis`.
once = pytest.mark.needs("example", "debian13")

T = TypeVar("T")

# Prints every process that supervisord started, or that one of those did.
PROCESSES = """
import json, os, pwd
found = []
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        environment = dict(v.split("=", 1) for v in open(f"/proc/{pid}/environ").read().split("\\0") if "=" in v)
        parent = int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])
        if "CELERY_PROGRAM" in environment:
            user = pwd.getpwuid(os.stat(f"/proc/{pid}").st_uid).pw_name
            folder = os.readlink(f"/proc/{pid}/cwd")
            found.append((environment["CELERY_PROGRAM"], parent, (int(pid), user, folder)))
    except OSError:
        pass
print(json.dumps(found))
"""
# What became of the orders for a product: how many there are, how many wait to be confirmed, how often it was sold.
ORDERS = """
import json, django
django.setup()
from tasks.models import Order, Product
orders = Order.objects.filter(product=PRODUCT)
print(json.dumps({
    "orders": [str(order.pk) for order in orders],
    "waiting": orders.filter(receipt=None).count(),
    "sold": sum(Product.objects.filter(name=PRODUCT).values_list("sold", flat=True)),
}))
"""
# What a worker alone runs into, so that a release with it passes the check of its import.
DIES = """
import sys
if "worker" in sys.argv:
    raise SystemExit("this release has no workers")
"""


@dataclass(frozen=True)
class Worker:
    """An entry of celery_workers."""

    name: str
    queues: tuple[str, ...]
    concurrency: int

    @property
    def program(self) -> str:
        """supervisor's name of it."""
        return "celery" if self.name == "celery" else f"celery-{self.name}"


class Process(NamedTuple):
    """A process of a program."""

    pid: int
    user: str
    folder: str


class Platform:
    """What an inventory asks for.

    Args:
        inventory: the inventory's folder.
        variables: those of the host, as the inventory has them.
    """

    def __init__(self, inventory: Path, variables: Mapping[str, Any]) -> None:
        defaults = yaml.safe_load(DEFAULTS.read_text(encoding="utf-8"))
        self.inventory = inventory
        self.variables = {**defaults, **variables}
        self.app = str(self.variables["celery_app"])
        # The default is an expression, which follows from celery_broker_url.
        elsewhere = "redis" if str(self.variables["celery_broker_url"]).startswith("redis") else "rabbitmq"
        self.broker = str(variables.get("celery_broker", elsewhere))
        self.operator = str([*self.variables["celery_operators"], "root"][0])
        self.address = str(self.variables["ansible_host"])
        self.web_port = int(self.variables["celery_web_port"])
        self.management_port = int(self.variables["celery_rabbitmq_management_port"])
        self.workers = [
            Worker(entry["name"], tuple(entry["queues"]), entry.get("concurrency", os.cpu_count()))
            for entry in self.variables["celery_workers"]
        ]
        self.queues = [queue for worker in self.workers for queue in worker.queues]
        groups = self.variables["groups"]
        parts = {"beat": "beat", "flower": "monitoring", "web": "web", "database": "database"}
        self.features = {
            name for name, group in parts.items() if self.variables[f"celery_{name}_enabled"] and groups.get(group)
        }
        self.features |= {"proxy"} if groups.get("proxy") else set()
        ours = self.variables["celery_app_source"] == defaults["celery_app_source"]
        self.features |= {self.broker, "example" if ours else "plain"}
        self.features |= {f"debian{self.variables.get('lab_debian', 13)}"}
        self.features |= {"ledger"} if "TASKS_LEDGER" in self.variables.get("celery_app_environment", {}) else set()
        self.features |= {"signing"} if self.variables["celery_message_signing"] else set()
        self.features |= {name for name in ("packages", "files") if self.variables[f"celery_{name}"]}
        others = {"celerybeat": "beat", "flower": "flower", "web": "web"}
        self.programs = [worker.program for worker in self.workers]
        self.programs += [program for program, feature in others.items() if feature in self.features]

    @cached_property
    def secrets(self) -> dict[str, str]:
        """All that was generated, by name."""
        files = sorted((self.inventory / "secrets").glob("*.txt"))
        return {path.stem: path.read_text(encoding="utf-8").strip() for path in files}


@dataclass(frozen=True)
class Answer:
    """What an HTTP server said."""

    status: int
    body: str

    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)


class Site:
    """A deployed host, and how to ask it.

    Args:
        platform: what its inventory asks for.
        host: testinfra's host; its commands run as root.
    """

    def __init__(self, platform: Platform, host: Any) -> None:
        self.platform = platform
        self.host = host

    @cached_property
    def nodes(self) -> list[str]:
        """The names of its workers, as Celery has them."""
        name = self.run("hostname").strip()
        return [f"{worker.name}@{name}" for worker in self.platform.workers]

    def run(self, command: str, *arguments: str, user: str = "root", status: int | None = 0) -> str:
        """Run a command and return what it printed, errors too.

        Args:
            command: for the shell; each %s is replaced by one of the arguments, quoted.
            arguments: for the placeholders.
            user: who runs it.
            status: the exit code that it must have; None for any.
        """
        if user != "root":
            command = self.host.get_command(command, *arguments) if arguments else command
            command, arguments = "cd / && runuser -u %s -- sh -c %s", (user, command)
        done = self.host.run(command, *arguments)
        said = str(done.stdout + done.stderr)
        assert status is None or done.rc == status, f"exit code {done.rc} of: {command} {arguments}\n{said}"
        return said

    def python(self, code: str) -> Any:
        """Run Python as the application's shell does; return the JSON of the last line that it prints."""
        return json.loads(self.run("celery-python -c %s", code).strip().splitlines()[-1])

    def send(self, code: str) -> list[str]:
        """Send tasks; return their ids.

        Args:
            code: a Python expression that gives a list of results.
        """
        sent: list[str] = self.python(
            f"import json; from tasks import *; print(json.dumps([sent.id for sent in {code}]))"
        )
        return sent

    def states(self, ids: Iterable[str]) -> Counter[str]:
        """How many of the tasks are in each state, as the result store has it."""
        code = f"import json, tasks; print(json.dumps([tasks.app.AsyncResult(id).state for id in {list(ids)!r}]))"
        return Counter(self.python(code))

    def log_lines(self, ids: Iterable[str], verb: str) -> Counter[str]:
        """How often the workers' logs say of each task that it was ``received`` or ``succeeded``."""
        said = self.run(f"grep -hoE '\\[[0-9a-f-]{{36}}\\] {verb}' /var/log/celery/celery*.log", status=None)
        found = Counter(line[1:37] for line in said.splitlines())
        return Counter({id: found[id] for id in ids})

    def processes(self) -> dict[str, list[Process]]:
        """The processes of each of supervisord's programs, the main one first.

        Raises:
            AssertionError: a process is nobody's child, or a program has two main processes.
        """
        supervisord = int(self.run("systemctl show --value --property MainPID supervisor"))
        everyone = json.loads(self.run("/usr/bin/python3 -c %s", PROCESSES))
        programs: dict[str, list[Process]] = {}
        for program, parent, facts in sorted(everyone, key=lambda one: (one[1] != supervisord, one[2])):
            family = programs.setdefault(program, [])
            parents = {process.pid for process in family} or {supervisord}
            assert parent in parents, f"an orphan, or a second main process: {facts} of {program}: {everyone}"
            family.append(Process(*facts))
        return programs

    def main_pids(self) -> dict[str, int]:
        """The main process of each program, and supervisord's own, when what was handed over has gone."""
        eventually(
            lambda: self.run("supervisorctl status", status=None), lambda said: "-leaving-" not in said, within=60
        )
        pids = {program: main.pid for program, (main, *_) in self.processes().items()}
        return pids | {"supervisord": int(self.run("systemctl show --value --property MainPID supervisor"))}

    def health(self, wait: int = 0) -> tuple[int, dict[str, Any]]:
        """The exit code of celery-health and what it says."""
        done = self.host.run("celery-health --json --wait %s", str(wait))
        return done.rc, json.loads(done.stdout)

    def healthy(self, within: float) -> None:
        """Wait until celery-health finds nothing to say. Under load it may say that a queue waits for its turn.

        Args:
            within: seconds.
        """

        def wrong() -> list[str]:
            _, health = self.health(wait=30)
            return [f"{one['layer']} {one['name']}: {one['detail']}" for one in health["checks"] if not one["ok"]]

        eventually(wrong, lambda said: not said, within)

    def http(
        self,
        path: str,
        port: int | None = None,
        login: str = "",
        body: Any = None,
        timeout: float = 10,
        host: str = "",
    ) -> Answer:
        """Ask the host over HTTP, from here.

        Args:
            path: the page.
            port: where; the front door's when None.
            login: ``user:password``.
            body: sent as JSON with POST when not None.
            timeout: seconds that the answer may take.
            host: the name that the request is for; the host's address when empty.
        """
        headers = {"Content-Type": "application/json"} if body is not None else {}
        headers |= {"Host": host} if host else {}
        if login:
            headers["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
        connection = http.client.HTTPConnection(self.platform.address, port or self.platform.web_port, timeout=timeout)
        try:
            sent = ("GET", path) if body is None else ("POST", path, json.dumps(body))
            connection.request(*sent, headers=headers)  # type: ignore[misc]
            answer = connection.getresponse()
            return Answer(answer.status, answer.read().decode())
        finally:
            connection.close()

    def management(self, path: str, body: Any = None) -> Any:
        """Ask RabbitMQ's management API as its operator."""
        login = f"operator:{self.platform.secrets['rabbitmq_operator']}"
        answer = self.http(f"/api/{path}", self.platform.management_port, login, body)
        assert answer.status in (200, 201, 204), f"{path}: {answer}"
        return answer.json() if answer.body else None

    def make(self, *words: str, works: bool = True) -> str:
        """Run a verb of the Makefile on it, as a user does, and return what it said.

        Args:
            words: the verb and its variables, such as ``PROGRAM=celery``.
            works: whether it has to end well, or badly.
        """
        return make(self.platform.inventory, *words, works=works)

    def podman(self, verb: str, *arguments: str, stdin: str = "") -> None:
        """Do something to the host from outside.

        Args:
            verb: podman's command.
            arguments: what follows the host's name.
            stdin: what the command reads.
        """
        options = ["--interactive"] if stdin else []
        command = ["podman", verb, *options, str(self.platform.variables["lab_container"]), *arguments]
        command = command if os.getuid() == 0 else ["sudo", "-n", *command]
        # conmon leaves a note of a process killed for memory where it was started: not in this clone
        subprocess.run(command, check=True, capture_output=True, timeout=300, input=stdin, text=True, cwd="/run")

    def take_secrets(self) -> None:
        """Leave every secret of now on the host, in a file for root alone. No command that uses it has to name one."""
        lines = "".join(f"{name}={secret}\n" for name, secret in self.platform.secrets.items())
        self.podman("exec", "sh", "-c", f"umask 077; cat >{SECRETS}", stdin=lines)

    def reboot(self) -> None:
        """Shut the host down properly, start it, and wait until it lets us in."""
        begun = time.monotonic()
        self.podman("restart")
        assert time.monotonic() - begun < 100, "the host did not shut down by itself: podman killed it after 120 s"

        def lets_us_in() -> bool:
            try:
                return bool(self.host.run("true").rc == 0)
            except RuntimeError:  # what testinfra makes of a refused connection
                return False

        eventually(lets_us_in, bool, within=60)


def as_in_a_shell() -> dict[str, str]:
    """The environment, without what Molecule, pytest or the `make` that runs the tests have set for themselves."""
    ours = {"MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "MAKELEVEL", "ARGS"}
    kept = {name: value for name, value in os.environ.items() if name not in ours and not name.startswith("ANSIBLE_")}
    return kept | {"ANSIBLE_NOCOLOR": "1", "NO_COLOR": "1"}


def make(inventory: Path, *words: str, works: bool | None = True) -> str:
    """Run a verb of the Makefile, as a user does, and return what it said.

    Args:
        inventory: its folder.
        words: the verb and its variables, such as ``PROGRAM=celery``.
        works: whether it has to end well, or badly; None where it may do either.
    """
    done = subprocess.run(
        ["make", *words, f"INVENTORY={inventory.relative_to(ROOT)}"],
        cwd=ROOT,
        env=as_in_a_shell(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    said = done.stdout + done.stderr
    assert works in (None, done.returncode == 0), f"exit code {done.returncode} of make {words[0]}: {said[-6000:]}"
    return said


def eventually(look: Callable[[], T], good: Callable[[T], Any], within: float = 30.0) -> T:
    """Look until what is seen is good, and return it.

    Args:
        look: asks.
        good: judges the answer.
        within: seconds until it must be good.
    """
    deadline = time.monotonic() + within
    while True:
        seen = look()
        if good(seen):
            return seen
        assert time.monotonic() < deadline, f"not within {within:g} s; seen last: {seen}"
        time.sleep(0.2)


def app_with(code: str, folder: Path) -> Path:
    """The application with more code, which makes a release that there never was.

    Args:
        code: what comes at the end of tasks/tasks.py.
        folder: where it is made; there is nothing yet.
    """
    shutil.copytree(ROOT / "app", folder, ignore=shutil.ignore_patterns(".*", "__pycache__", "tests"))
    with (folder / "tasks/tasks.py").open("a", encoding="utf-8") as file:
        file.write(f"{code}# {time.time_ns()}\n")
    return folder


def without_colours(text: str) -> str:
    """The text as a person reads it."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
