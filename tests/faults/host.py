"""A lab host that is broken on purpose. Commands go in through podman, so that nothing on the host has to work."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import testinfra

from tests.deployments.support import Deployments
from tests.hosts.support import ROOT, Platform, Site, eventually

# Ends a file system as a power cut would: nothing that is not on disk yet gets there any more. The numbers are
# EXT4_IOC_SHUTDOWN and EXT4_GOING_FLAGS_NOLOGFLUSH of Linux, fs/ext4/ext4.h.
POWER_CUT = """
import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack("I", 2))
"""

# Prints how often each of some tasks is in the broker, read and left as it is.
STORED = """
import json, re, sys
from collections import Counter
from tasks import app

ids = json.loads(sys.argv[1])
with app.connection_for_write() as connection:
    client = connection.default_channel.client
    read = {
        b"list": lambda key: client.lrange(key, 0, -1),
        b"hash": lambda key: client.hgetall(key).values(),
        b"set": client.smembers,
        b"zset": lambda key: client.zrange(key, 0, -1),
        b"string": lambda key: [client.get(key)],
    }
    kind = lambda key: (lambda said: said if isinstance(said, bytes) else said.encode())(client.type(key))
    values = [value for key in client.scan_iter(count=1000) for value in read.get(kind(key), lambda key: [])(key)]
texts = [value if isinstance(value, str) else value.decode(errors="replace") for value in values]
print(json.dumps(Counter(id for text in texts for id in ids if re.search(f'"id": ?"{id}"', text))))
"""


class Done(NamedTuple):
    """A command that has ended; the names are testinfra's."""

    rc: int
    stdout: str
    stderr: str


def as_root(*command: str) -> list[str]:
    """The command, for root on this machine."""
    return list(command) if os.getuid() == 0 else ["sudo", "-n", *command]


def _on_this_machine(*command: str) -> str:
    return subprocess.run(as_root(*command), check=True, capture_output=True, timeout=60, text=True).stdout


class Inside:
    """Runs commands in a container as root; takes the place of testinfra's host, whose podman needs to be root's."""

    def __init__(self, container: str) -> None:
        self.container = container

    def get_command(self, command: str, *arguments: str) -> str:
        """Put the arguments, quoted, in the place of each %s."""
        return command % tuple(map(shlex.quote, arguments)) if arguments else command

    def run(self, command: str, *arguments: str) -> Done:
        """Run a command for the shell, with arguments for its placeholders."""
        inside = as_root("podman", "exec", self.container, "sh", "-c", self.get_command(command, *arguments))
        try:
            done = subprocess.run(inside, capture_output=True, text=True, timeout=120, check=False)
        except subprocess.TimeoutExpired:
            return Done(124, "", "no answer in 120 s")
        return Done(done.returncode, done.stdout, done.stderr)


class Host(Site):
    """The host of an inventory that runs everything.

    Args:
        inventory: the inventory's folder; it is deployed.
    """

    def __init__(self, inventory: Path) -> None:
        (found,) = testinfra.get_hosts(["ansible://workers"], ansible_inventory=str(inventory))
        variables = found.ansible.get_variables()
        super().__init__(Platform(inventory.resolve(), variables), Inside(str(variables["lab_container"])))

    # --- what it is ---------------------------------------------------------------------------------------------

    @property
    def broker(self) -> str:
        """The broker's service."""
        return {"rabbitmq": "rabbitmq-server", "redis": "redis-server"}[self.platform.broker]

    @cached_property
    def ledger(self) -> Path:
        """Where the ledger is on this machine."""
        there = str(self.platform.variables["celery_app_environment"]["TASKS_LEDGER"])
        for volume in self.platform.variables["lab_volumes"]:
            volume = str(volume).replace("{{ inventory_dir }}", str(self.platform.inventory))
            here, _, mounted = volume.partition(":")
            if there.startswith(f"{mounted}/"):
                return Path(here) / there.removeprefix(f"{mounted}/")
        raise LookupError(f"TASKS_LEDGER={there} is in none of lab_volumes")

    @property
    def disk(self) -> Path:
        """Where its disk is mounted on this machine; see roles/lab."""
        return Path(self.platform.variables["lab_disk"])

    @property
    def image(self) -> Path:
        """The disk itself, where this machine can have such."""
        return self.platform.inventory / f".lab/disks/{self.disk.name}.img"

    @cached_property
    def in_hand(self) -> int:
        """How many tasks its workers may have taken and not yet acknowledged."""
        multiplier = int(self.platform.variables["celery_prefetch_multiplier"])
        return sum(worker.concurrency for worker in self.platform.workers) * multiplier

    @cached_property
    def versions(self) -> dict[str, str]:
        """Of what is tested."""
        asked = "dpkg-query --show --showformat '${Package} ${Version}\\n' %s"
        packages = self.run(asked % f"{self.broker} redis-server postgresql supervisor systemd python3")
        versions = dict(sorted(line.split(" ", 1) for line in packages.splitlines()))
        libraries = ("celery", "kombu", "billiard", "amqp", "redis", "celery-redis-plus", "django")
        versions |= self.python(
            "import json; from importlib.metadata import distributions; "
            "found = {one.name.lower(): one.version for one in distributions()}; "
            f"print(json.dumps({{name: found[name] for name in {libraries} if name in found}}))"
        )
        commit = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        return versions | {"debian": self.run("cat /etc/debian_version").strip(), "this": commit.stdout.strip()}

    # --- what is done to it -------------------------------------------------------------------------------------

    def popen(self, *command: str) -> subprocess.Popen[str]:
        """Start a command on it that reads from and prints to this process, and ends with the host."""
        return subprocess.Popen(
            as_root("podman", "exec", "--interactive", str(self.platform.variables["lab_container"]), *command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def is_up(self) -> bool:
        """Whether it has booted."""
        said = self.run("systemctl is-system-running", status=None)
        return said.strip() in ("running", "degraded")

    def reboot(self) -> None:
        """Shut it down properly and start it."""
        self.podman("restart")
        eventually(self.is_up, bool, within=120)

    def power_off(self) -> bool:
        """Cut its power. Returns whether its disk forgot what was not synced; a kill alone forgets nothing."""
        self.podman("kill")
        self.podman("wait")
        forgets = self.image.exists()
        if forgets:
            # Not while anything writes: an fsync() that the shutdown overtakes may say that all is well (Linux 6.18).
            _on_this_machine("python3", "-c", POWER_CUT, str(self.disk))
            _on_this_machine("umount", str(self.disk))
            kept = _on_this_machine("losetup", "--associated", str(self.image))
            assert not kept, f"the disk is mounted elsewhere on this machine too, and would come back as it was: {kept}"
        return forgets

    def power_on(self) -> None:
        """Start it; its disk is read again, as far as it was written."""
        if self.image.exists():
            _on_this_machine("mount", "-o", "loop", str(self.image), str(self.disk))
        self.podman("start")
        eventually(self.is_up, bool, within=120)

    def redis(self, *command: str) -> str:
        """Ask Redis as its operator."""
        options = "--no-auth-warning --user operator"
        password = self.platform.secrets["redis_operator"]
        return self.run(f"REDISCLI_AUTH=%s redis-cli {options} {shlex.join(command)}", password).strip()

    @contextmanager
    def edited(self, path: str, old: str, new: str, apply: str) -> Iterator[None]:
        """A file with a change in it, for a while.

        Args:
            path: which.
            old: the text that is replaced wherever it stands; empty to append.
            new: what takes its place.
            apply: the command that makes the change take effect, and later its end.
        """
        before = self.run("cat %s", path)
        assert old in before, f"{path} has no {old!r}"
        write = f"printf %%s %s >%s && {apply}"
        self.run(write, before.replace(old, new) if old else before + new, path)
        try:
            yield
        finally:
            self.run(write, before, path)

    @contextmanager
    def memory(self, size: str) -> Iterator[None]:
        """Have a host with less memory, for a while.

        Args:
            size: how much in all, such as 2g.
        """
        self.podman("update", "--memory", size)
        try:
            yield
        finally:
            self.podman("update", "--memory", "1t")

    def deploy(self, **variables: Any) -> None:
        """Deploy to it, as `make deploy` does.

        Args:
            variables: what is different from the inventory.

        Raises:
            AssertionError: the deployment failed; with what it said last.
        """
        done = Deployments(self.platform.inventory).run(**variables)
        assert done.status == 0, done.said[-3000:]

    def releases(self) -> set[str]:
        """The releases that its workers say they run."""
        said = self.run("celery inspect release --json --timeout 10")
        answers: dict[str, dict[str, str]] = json.loads(next(x for x in said.splitlines() if x.startswith("{")))
        return {answer["release"] for answer in answers.values()}

    def release(self) -> str:
        """The release that each of its programs runs, by its own process's word, and each worker by its answer."""
        self.make("releases")  # fails where they run several
        (release,) = self.releases()
        return release

    # --- what it holds ------------------------------------------------------------------------------------------

    def stored(self, ids: Sequence[str]) -> dict[str, int]:
        """How often the broker has each of these tasks, waiting or delayed.

        Args:
            ids: the tasks.
        """
        if self.platform.broker == "redis":
            counts: dict[str, int] = json.loads(
                self.run("celery-python -c %s %s", STORED, json.dumps(list(ids))).splitlines()[-1]
            )
            return {id: counts.get(id, 0) for id in ids}
        counts = dict.fromkeys(ids, 0)
        for queue in self.management("queues/celery"):
            if not queue.get("messages"):
                continue
            asked = {"count": queue["messages"], "ackmode": "ack_requeue_true", "encoding": "auto"}
            for message in self.management(f"queues/celery/{queue['name']}/get", asked):
                id = message["properties"]["headers"].get("id")
                if id in counts:
                    counts[id] += 1
        return counts

    def dead_letters(self) -> list[dict[str, Any]]:
        """The messages that wait for someone to look at them, as celery-dead prints them."""
        said = self.run("celery-dead list --json --limit 0").splitlines()
        return [json.loads(line) for line in said if line.startswith("{")]
