"""A deployment that is cut off is finished by the next, and a release that cannot work does not go live.

The tests build on each other, in this order.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.deployments.support import Deployments, Run, Watch
from tests.hosts.support import ROOT, Site, app_with, eventually

# Where a first deployment is cut off, one after the other: before, in and after what is easily left half done.
FRESH = (
    "platform : Install the packages",
    "rabbitmq : Run RabbitMQ",  # while the releases are unpacked in the background
    "platform : Unpack the releases",  # which the one before may still be at
    "celery : Run the release's own commands",
    "celery : Run the programs",
)

SEED = int(os.environ.get("MISHAPS_SEED") or random.SystemRandom().randrange(10_000))

pytestmark = pytest.mark.usefixtures("watch")


def current(site: Site) -> str:
    """The release that is live."""
    return site.run("readlink /opt/celery/current").strip()


@pytest.fixture(scope="module")
def chance() -> random.Random:
    """Moments, the same for the same MISHAPS_SEED."""
    print(f"MISHAPS_SEED={SEED}")
    return random.Random(SEED)  # noqa: S311


def cut_off(deployments: Deployments, chance: random.Random, task: str, **variables: object) -> Run:
    """Cut a deployment off at some moment of a task."""
    how = chance.choice([signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
    return deployments.cut_off(task, chance.uniform(0, 0.8), how, **variables)


@pytest.mark.parametrize("task", FRESH)
def test_a_first_deployment_is_cut_off(deployments: Deployments, chance: random.Random, task: str) -> None:
    """Each goes on where the one before was ended, up to the next place."""
    run = cut_off(deployments, chance, task)
    assert f"TASK [{task}" in run.said, run.said
    assert "failed=1" not in run.said, run.said


def test_the_next_one_finishes_it(site: Site, deployments: Deployments) -> None:
    """As if nothing had been, with nothing left for a third."""
    run = deployments.run()
    assert run.status == 0, run.said
    code, health = site.health()
    assert code == 0, health
    again = deployments.run()
    assert (again.status, again.changed) == (0, 0), again.said


def test_no_secret_was_an_argument_of_a_process(site: Site, watch: Watch) -> None:
    """In any of these deployments, on the host."""
    seen = watch.seen()
    assert "ansible" in seen or "mitogen" in seen
    assert {name for name, secret in site.platform.secrets.items() if secret in seen} == set()


# --- a change --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "task", ["celery : Write new settings", "celery : Use the settings", "celery : Run the programs"]
)
def test_a_change_is_cut_off(site: Site, deployments: Deployments, chance: random.Random, task: str) -> None:
    """While files are written, and while programs are restarted."""
    cut_off(deployments, chance, task, celery_prefetch_multiplier=3)


def test_the_next_one_finishes_the_change(site: Site, deployments: Deployments) -> None:
    """The worker that runs has the new setting, which the files alone do not tell."""
    run = deployments.run(celery_prefetch_multiplier=3)
    assert run.status == 0, run.said
    code, health = site.health()
    assert code == 0, health
    (settings,) = json.loads(site.run("celery -A tasks inspect conf --json")).values()
    assert settings["worker_prefetch_multiplier"] == 3
    again = deployments.run(celery_prefetch_multiplier=3)
    assert (again.status, again.changed) == (0, 0), again.said


# --- services that refuse their new files -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "path", "variable", "words"),
    [
        ("redis-server", "/etc/redis/redis.conf", "redis_maxmemory_policy", "argument(s) must be one of the following"),
        ("rabbitmq-server", "/etc/rabbitmq/rabbitmq.conf", "rabbitmq_disk_free_limit", "disk_free_limit.absolute"),
        ("nginx", "/etc/nginx/conf.d/celery.conf", "nginx_body_size", '"client_max_body_size" directive invalid value'),
    ],
)
def test_it_has_its_previous_files_back_and_runs(
    site: Site, deployments: Deployments, unit: str, path: str, variable: str, words: str
) -> None:
    """It would not start again with the new ones. The deployment fails with its own words."""
    look = f"sha256sum {path}; stat --format '%U %G %a' {path}"
    before = site.run(look)
    changed: dict[str, Any] = {"celery_prefetch_multiplier": 3, variable: "nonsense"}
    run = deployments.run(**changed)
    assert run.status != 0
    for word in (words, f"{path} is back, and {unit}.service runs with it"):
        assert word in run.said, run.said
    assert site.run(look) == before
    assert site.run(f"systemctl is-active {unit}").strip() == "active"


def test_flower_has_its_previous_settings_back_and_runs(site: Site, deployments: Deployments) -> None:
    """It does not start with the new ones. The deployment fails with the last lines of its log."""
    look = "sha256sum /etc/flower/* /etc/supervisor/conf.d/flower.conf; readlink /opt/flower/current"
    before = site.run(look)
    run = deployments.run(celery_prefetch_multiplier=3, flower_bind="192.0.2.77")
    assert run.status != 0
    for words in (
        "flower does not start with the new files",
        "The last lines of /var/log/celery/flower.log",
        "Cannot assign requested address",
        "/etc/supervisor/conf.d/flower.conf is back, and flower runs with it",
    ):
        assert words in run.said.replace("\\n", "\n"), run.said
    assert site.run(look) == before
    assert "RUNNING" in site.run("supervisorctl status flower")


# --- releases that must not go live ----------------------------------------------------------------------------------


def broken(folder: Path, name: str) -> Path:
    """Our application with something wrong in it."""
    app = folder / name
    shutil.copytree(ROOT / "app", app, ignore=shutil.ignore_patterns(".*", "__pycache__", "tests/"))
    tasks = app / "tasks" / "tasks.py"
    text = tasks.read_text(encoding="utf-8")
    if name == "syntax":
        tasks.write_text(text.replace("def add(", "def add((", 1), encoding="utf-8")
    elif name == "package":
        tasks.write_text(text.replace("import time", "import time\nimport pandas", 1), encoding="utf-8")
    elif name == "setting":
        tasks.write_text(text + "\n\nimport os\n\nos.environ['THE_COLOUR']\n", encoding="utf-8")
    elif name == "queue":
        tasks.write_text(text + "\n\n@app.task(queue='reports')\ndef report():\n    pass\n", encoding="utf-8")
    assert tasks.read_text(encoding="utf-8") != text
    return app


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("syntax", ["tasks/tasks.py", "line"]),
        ("package", ["pandas", "tasks/tasks.py"]),
        ("setting", ["does not import", "THE_COLOUR", "tasks/tasks.py"]),
        ("queue", ["no worker reads queue 'reports'", "tasks.report", "celery_workers"]),
    ],
)
def test_it_stops_before_anything_runs_of_it(
    site: Site, deployments: Deployments, tmp_path: Path, name: str, words: list[str]
) -> None:
    """It says what is wrong and where; the release that was live stays so, and nothing is restarted."""
    before = current(site), site.processes()
    run = deployments.run(celery_app_source=str(broken(tmp_path, name)), celery_prefetch_multiplier=3)
    assert run.status != 0
    for word in words:
        assert word in run.said, run.said
    assert (current(site), site.processes()) == before
    code, health = site.health()
    assert code == 0, health


def test_it_stops_at_the_first_release_command_that_fails(site: Site, deployments: Deployments, tmp_path: Path) -> None:
    """The message has its exit code, its output, and what did not run; the release that was live stays so."""
    before = current(site), site.processes()
    mark = "/var/lib/celery/after-the-failure"
    commands = [
        "python -c pass",
        "python -c 'raise SystemExit(\"no such table\")'",
        f'python -c \'open("{mark}", "w")\'',
    ]
    app = app_with("", tmp_path / "app")
    run = deployments.run(
        celery_app_source=str(app), celery_app_release_commands=commands, celery_prefetch_multiplier=3
    )
    assert run.status != 0
    for word in ("failed, exit code 1:", "no such table", "Not run: `python -c 'open(", "is current, as before"):
        assert word in run.said, run.said
    assert not site.host.file(mark).exists
    assert (current(site), site.processes()) == before


def test_the_good_one_deploys_as_before(deployments: Deployments) -> None:
    """Nothing of the others is in its way."""
    run = deployments.run(celery_prefetch_multiplier=3)
    assert (run.status, run.changed) == (0, 0), run.said


def test_a_dead_letter_is_reported_and_stops_no_deployment(site: Site, deployments: Deployments) -> None:
    """Somebody should look at it; the platform works."""
    site.run("celery -A tasks call nobody.knows.this")
    eventually(lambda: site.health()[0], lambda code: code == 1)
    run = deployments.run(celery_prefetch_multiplier=3)
    assert (run.status, run.changed) == (0, 0), run.said
    assert "1 dead-lettered" in run.said, run.said
    site.run("celery-dead drop --all --yes")
    eventually(lambda: site.health()[0], lambda code: code == 0)


def test_a_release_command_that_is_added_later_runs_for_the_same_release(site: Site, deployments: Deployments) -> None:
    """Once, and nothing is restarted. Another deployment has nothing to do."""
    before = current(site), site.processes()
    mark = "/var/lib/celery/added-later"
    commands = [f"python -c \"open('{mark}', 'a').write('x')\""]
    for changed in (True, False):
        run = deployments.run(celery_app_release_commands=commands, celery_prefetch_multiplier=3)
        assert run.status == 0, run.said
        assert bool(run.changed) == changed, run.said
        assert (site.run(f"cat {mark}"), current(site), site.processes()) == ("x", *before)
