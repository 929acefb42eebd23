"""The documentation says what is true of the code: references are fresh, names and links exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.settings import celery_settings

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

DEFAULTS = yaml.safe_load((ROOT / "roles/platform/defaults/main.yml").read_text())
BROKERS = {name: DEFAULTS | {"celery_broker": name} for name in ("rabbitmq", "redis")}


@pytest.fixture(params=PAGES, ids=[str(path.relative_to(ROOT)) for path in PAGES])
def page(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


def test_the_generated_pages_are_fresh() -> None:
    run = subprocess.run([sys.executable, ROOT / "bin/docs", "--check"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def build(source: Path, output: Path) -> subprocess.CompletedProcess[str]:
    """Build a site as `make docs` does."""
    command = [sys.executable, str(ROOT / "bin/docs"), "--site", str(source), str(output)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_site_has_every_page_and_a_search_and_needs_no_other_site(tmp_path: Path) -> None:
    run = build(ROOT, tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"{tmp_path}/index.html" in run.stdout
    index = (tmp_path / "searchindex.js").read_text()
    for path in [*PAGES, ROOT / "CHANGELOG.md"]:
        page = path.relative_to(ROOT).with_suffix("")
        assert (tmp_path / f"{page}.html").exists(), page
        assert f'"{page}"' in index, page
    elsewhere = r"(?:https?:)?//"
    loaded = rf"<(?:script|img)[^>]+src=\"{elsewhere}|<link[^>]+href=\"{elsewhere}|url\([\"']?{elsewhere}"
    for path in [*tmp_path.rglob("*.html"), *tmp_path.rglob("*.css")]:
        assert not re.search(loaded, path.read_text()), path


def test_a_dead_link_fails(tmp_path: Path) -> None:
    pages = {path.relative_to(ROOT): f"# {path.stem}\n" for path in [*PAGES, ROOT / "CHANGELOG.md"]}
    pages[Path("README.md")] += "[a page](docs/absent.md) [a heading](docs/tour.md#absent) [a file](bin/absent)\n"
    pages[Path("docs/tour.md")] += "[a heading of this page](#nowhere) [a heading that exists](../README.md#readme)\n"
    for page, text in pages.items():
        (tmp_path / "source" / page).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / page).write_text(text)
    run = build(tmp_path / "source", tmp_path / "site")
    assert run.returncode != 0
    dead = re.findall(r"WARNING: .*'([^']+)' \[myst\.xref_missing\]", run.stderr)
    assert sorted(dead) == ["absent", "bin/absent", "docs/absent.md", "nowhere"]
    assert run.stderr.count("WARNING") == len(dead)


def test_variables_exist(page: Path) -> None:
    known = {name for options in SPECS for name in options}
    known |= {"celery_on_hosts"}  # the collection and the runtime
    for name in re.findall(r"(?<![\w/.-])((?:celery|lab|rabbitmq|redis)_[a-z_]+)(?![\w.(-])", page.read_text()):
        assert name in known | SETTINGS or name.endswith("_"), name  # the latter begins several: `celery_…`


def test_every_setting_is_explained() -> None:
    explained = (ROOT / "docs/settings.md").read_text()
    celery = {name for broker in BROKERS for name in celery_settings(BROKERS[broker])}
    assert "task_acks_late" in celery
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


EXAMPLES = re.split(r"^## ", (ROOT / "docs/applications.md").read_text(), flags=re.MULTILINE)
EXAMPLE = re.compile(r"The example is also\s+in\s+\[`tests/apps/(\w+)`")


@pytest.mark.parametrize("section", [text for text in EXAMPLES if EXAMPLE.search(text)], ids=lambda text: text[:20])
def test_an_example_of_an_application_is_what_the_corpus_deploys(section: str) -> None:
    found = EXAMPLE.search(section)
    assert found
    folder = ROOT / "tests/apps" / found[1]
    blocks = dict(re.findall(r"^`([\w./-]+)`:\n\n```\w*\n(.*?)^```$", section, re.MULTILINE | re.DOTALL))
    assert blocks == {name: (folder / name).read_text() for name in blocks}
    listed = subprocess.run(
        ["git", "-C", str(folder), "ls-files", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    unshown = {name for name in listed if name not in blocks and (folder / name).read_text()}
    assert {name for name in unshown if f"`{name}`" not in section} == set(), "files that the example does not name"


def test_verbs_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    verbs = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    used = set(re.findall(r"(?:^ {4}|`|^\$ )make ([a-z][a-z-]*)", page.read_text(), re.MULTILINE))
    assert used <= verbs
