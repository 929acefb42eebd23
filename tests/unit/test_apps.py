"""The applications of tests/apps, as far as that needs no host: `make apps` deploys them.

Each inventory passes preflight, each release is built by the real builder, and the check that a deployment runs before
it switches to a release runs in the release's own environment.
"""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celery_on_hosts.platform.plugins.action.preflight import read_source
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.preflight.check import check
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.preflight.problem import render
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.preflight.values import SECRETS
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.build import build
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.request import Request, Result

from tests.corpus.applications import APPLICATIONS, APPS, Application
from tests.unit.plugins.release.support import UV
from tests.unit.rendering import ROOT, Platform, load

SYSTEM = "/usr/bin/python3"  # what a release's python is a link to
HOST = "celery1"


@pytest.fixture(params=APPLICATIONS, ids=[application.name for application in APPLICATIONS])
def application(request: pytest.FixtureRequest) -> Application:
    found: Application = request.param
    if found.lacks:
        request.applymarker(pytest.mark.xfail(reason=f"the platform lacks {found.lacks}", strict=False))
    return found


@pytest.fixture
def platform(application: Application) -> Platform:
    """The application's inventory, as Ansible reads it."""
    hosts = load(application.inventory / "hosts.yml")
    groups = {name: list(group["hosts"]) for name, group in hosts.items() if name != "lab"}
    found = Platform(groups=groups, host=HOST, **load(application.inventory / "group_vars/all.yml"))
    found.magic["inventory_dir"] = str(application.inventory)
    return found


@pytest.fixture
def variables(platform: Platform) -> dict[str, Any]:
    """The host's variables, evaluated."""
    return dict(platform.model().inventory.hosts[HOST])


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The place of /opt/celery."""
    return tmp_path_factory.mktemp("opt")


def test_every_application_is_in_the_corpus() -> None:
    """Except the plain one, which the scenarios `plain` and `plain-redis` deploy."""
    folders = {path.name for path in APPS.iterdir() if path.is_dir()}
    assert folders - {"plain"} == {application.name for application in APPLICATIONS}


def test_preflight(application: Application, platform: Platform, variables: dict[str, Any]) -> None:
    source = variables["celery_app_source"]
    user = list(load(application.inventory / "group_vars/all.yml"))
    values = {
        name: value for name, value in variables.items() if name.startswith("celery_") and not name.endswith(SECRETS)
    }
    problems = check(
        {
            "groups": platform.groups | {"all": [HOST]},
            "known": list(load(ROOT / "roles/platform/defaults/main.yml")),
            "hosts": {HOST: {"vars": values, "user": user, "facts": {}}},
            "sources": {source: read_source(source)},
        }
    )
    errors = [problem for problem in problems if problem.level == "error"]
    assert not errors, render(errors)


def test_the_release_is_built_and_passes_the_check(
    application: Application, platform: Platform, variables: dict[str, Any], root: Path, tmp_path: Path
) -> None:
    release = unpacked(built(variables, root), root)
    environment, description = tmp_path / "environment", tmp_path / "platform.json"
    environment.write_text(platform.text("celery", "/etc/celery/environment"))
    description.write_text(platform.text("celery", "/etc/celery/platform.json"))
    command = (
        f"set -a; . {environment}; CELERY_PLATFORM={description}; PATH={release}/bin:/usr/bin:/bin; cd {release}/app; "
        f"exec {release}/bin/python -m celery_on_hosts.check"
    )
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, env={})
    assert done.returncode == 0, done.stdout + done.stderr


def built(variables: dict[str, Any], root: Path) -> Result:
    """Build a release for this machine's own Python, which then takes the place of a host's."""
    version = subprocess.run(
        [SYSTEM, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True, text=True, check=True
    )
    return build(
        Request(
            source=Path(variables["celery_app_source"]),
            output=root.with_name("built"),
            app=variables["celery_app"],
            python_version=version.stdout.strip(),
            runtime=ROOT / "runtime",
            install_root=str(root),
            uv=UV,
            keep=len(APPLICATIONS),
        )
    )


def unpacked(result: Result, root: Path) -> Path:
    """Unpack a release as a host does, and return its folder."""
    for archive, place in ((result.deps_archive, root / "deps"), (result.release_archive, root / "releases")):
        place.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as tar:
            tar.extractall(place, filter="tar")
    return root / "releases" / result.release_id
