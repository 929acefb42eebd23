"""The verbs of the tour (docs/tour.md), typed as a newcomer types them, on a lab of this test's own."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAB = ROOT / ".cache" / "verbs" / "inventory"
PLAIN = {"NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1"}

Verb = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def make() -> Iterator[Verb]:
    """Run a verb on a lab that is made from the default inventory and removed in the end."""
    shutil.rmtree(LAB, ignore_errors=True)
    shutil.copytree(
        ROOT / "inventories" / "lab", LAB, ignore=shutil.ignore_patterns(".lab", "lab_hosts.yml", "secrets")
    )

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", *words, f"INVENTORY={LAB.relative_to(ROOT)}"],
            cwd=ROOT,
            env=os.environ | PLAIN,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    yield run
    run("destroy")


def is_there(container: str) -> bool:
    """Whether podman knows a container, running or not."""
    return subprocess.run(["podman", "container", "exists", container], check=False).returncode == 0


def test_the_tour(make: Verb) -> None:
    first = make("deploy")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "Celery runs. A task has gone round" in first.stdout
    page = re.search(r"The application +(http://\S+)", first.stdout)
    assert page, first.stdout
    password = LAB / "secrets" / "flower.txt"
    assert str(password.relative_to(ROOT)) in first.stdout
    assert password.stat().st_mode & 0o077 == 0

    second = make("deploy")
    assert second.returncode == 0, second.stdout + second.stderr
    assert "nothing to change" in second.stdout

    status = make("status")
    assert status.returncode == 0, status.stdout
    assert re.search(r"^celery1 +healthy +[0-9a-f]{12} ", status.stdout, re.MULTILINE), status.stdout
    assert {"rabbitmq", "redis", "postgresql", "nginx"} <= set(status.stdout.split())

    releases = make("releases")
    assert releases.returncode == 0, releases.stdout
    assert re.search(r"^celery1 .* current +celery, celerybeat, web$", releases.stdout, re.MULTILINE), releases.stdout

    task = make(
        "ssh", "CMD=celery-python -c 'from tasks import add; r = add.delay(2, 3); print(r.status, r.get(timeout=10))'"
    )
    assert re.fullmatch(r"(PENDING|SUCCESS) 5\n", task.stdout), task.stdout + task.stderr
    failing = make("ssh", "CMD=echo said; exit 3")
    assert failing.stdout == "said\n"
    assert "Error 3" in failing.stderr

    assert "0 of 0 dead-lettered" in make("dead").stderr
    make("ssh", 'CMD=celery-python -c \'from tasks import app; app.send_task("no.such.task", task_id="lonely")\'')
    deadline = time.monotonic() + 30  # until a worker has refused it
    while make("dead", "DO=show", "ID=lonely").returncode:
        assert time.monotonic() < deadline
    dropped = make("dead", "DO=drop", "ID=lonely", "ARGS=--yes")
    assert "dropped: lonely no.such.task" in dropped.stdout, dropped.stdout + dropped.stderr

    make("ssh", "CMD=supervisorctl stop celery; systemctl stop nginx; systemctl kill --signal=STOP redis-server")
    bad = make("status")
    assert bad.returncode != 0
    assert re.search(r"^celery1 +unhealthy ", bad.stdout, re.MULTILINE), bad.stdout
    assert "supervisorctl start celery" in bad.stdout
    assert "celery1: service nginx: nginx.service is inactive" in bad.stdout
    assert "celery1: service redis: 127.0.0.1:6379 does not answer" in bad.stdout, "it is active, but hangs"

    host = re.search(r"lab_container: (\S+)", (LAB / "lab_hosts.yml").read_text())
    assert host
    assert is_there(host[1])
    gone = make("destroy")
    assert gone.returncode == 0, gone.stdout + gone.stderr
    assert not is_there(host[1])


def test_the_verbs_are_listed_a_line_each() -> None:
    said = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    listed = set(re.findall(r"^  ([a-z-]+) ", said, re.MULTILINE))
    expected = {"deploy", "status", "releases", "dead", "ssh", "destroy"}
    assert expected | {"test", "lint", "unit", "molecule", "bench-deploy"} <= listed
