"""The documentation says what is true of the code: references are fresh, names and links exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    path
    for path in [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("roles/*/README.md"),
        ROOT / "app/README.md",
    ]
    if path.name != "CHANGELOG.md"
]
SPECS = [
    yaml.safe_load(path.read_text())["argument_specs"]["main"].get("options", {})
    for path in ROOT.glob("roles/*/meta/argument_specs.yml")
]


@pytest.fixture(params=PAGES, ids=[str(path.relative_to(ROOT)) for path in PAGES])
def page(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


def test_the_generated_pages_are_fresh() -> None:
    run = subprocess.run([sys.executable, ROOT / "bin/docs", "--check"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    anchors = {
        re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"", text):
        link = target[0] or target[1]
        if link.startswith("#"):
            assert link[1:] in anchors, link
        elif not re.match(r"https?:|mailto:", link):
            assert (page.parent / link.split("#")[0]).exists(), link


def test_variables_exist(page: Path) -> None:
    known = {name for options in SPECS for name in options}
    known |= {"celery_on_hosts"}  # the collection and the runtime
    for name in re.findall(r"(?<![\w/.-])((?:celery|lab|rabbitmq|redis)_[a-z_]+)(?![\w.(-])", page.read_text()):
        assert name in known | SETTINGS or name.endswith("_"), name  # the latter begins several: `celery_…`


def test_every_setting_is_explained() -> None:
    explained = (ROOT / "docs/settings.md").read_text()
    constants = yaml.safe_load((ROOT / "roles/celery/vars/main.yml").read_text())
    celery = {name for key, value in constants.items() if key.startswith("_celery_settings") for name in value}
    supervisor = re.findall(r"^(\w+)=", (ROOT / "roles/celery/templates/programs.conf.j2").read_text(), re.MULTILINE)
    systemd = re.findall(
        r"^(\w+)=", (ROOT / "roles/supervisor/templates/supervisor.service.j2").read_text(), re.MULTILINE
    )
    redis = re.findall(r"^([a-z-]+) ", (ROOT / "roles/redis/templates/redis.conf.j2").read_text(), re.MULTILINE)
    rabbitmq = re.findall(r'"([a-z]+-[a-z-]+)":', (ROOT / "roles/rabbitmq/templates/definitions.json.j2").read_text())
    plain = {"command", "user", "directory", "environment", "priority", "autostart", "bind", "port", "dir", "pidfile"}
    plain |= {"logfile", "timeout", "supervised", "Wants", "apply-to"}
    missing = {*celery, *supervisor, *systemd, *redis, *rabbitmq} - plain
    assert not {name for name in missing if f"`{name}" not in explained}


# Celery's own settings of these names
SETTINGS = {
    "redis_socket_connect_timeout",
    "redis_socket_timeout",
    "redis_socket_keepalive",
    "redis_retry_on_timeout",
    "redis_backend_health_check_interval",
}


def test_verbs_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    verbs = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    used = set(re.findall(r"(?:^ {4}|`|^\$ )make ([a-z][a-z-]*)", page.read_text(), re.MULTILINE))
    assert used <= verbs
