"""What the application needs on its hosts beside its release: Debian packages, and files of the controller."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.deployments.support import Deployments
from tests.hosts.support import Site


@pytest.mark.needs("packages")
def test_the_applications_packages_are_installed(site: Site) -> None:
    """By themselves, or by a package that provides them."""
    said = site.run("dpkg-query --show --showformat '${Package} ${db:Status-Status} ${Provides}\\n'")
    installed = [line for line in said.splitlines() if " installed " in f"{line} "]
    for name in site.platform.variables["celery_packages"]:
        assert [line for line in installed if name in line.replace(",", " ").split()], name


@pytest.mark.needs("files")
def test_the_applications_files_are_for_the_application_alone(site: Site) -> None:
    for entry in site.platform.variables["celery_files"]:
        content = (site.platform.inventory / entry["src"]).read_text(encoding="utf-8")
        assert site.run(f"cat {entry['dest']}", user="celery") == content
        site.run(f"test -r {entry['dest']}", user="nobody", status=1)
        assert site.run(f"stat -c '%U %G %a' {entry['dest']}") == "root celery 640\n"


@pytest.mark.needs("files")
def test_files_come_back_with_what_worked(site: Site, tmp_path: Path) -> None:
    """Where the check before the switch fails, and where a program does not run."""
    variables = site.platform.variables
    (tmp_path / "file").write_text("not seen to work")
    files = [entry | {"src": str(tmp_path / "file")} for entry in variables["celery_files"]]
    worker, *others = variables["celery_workers"]
    broken: dict[str, dict[str, Any]] = {
        "no_such_application": {"celery_web_app": "web:no_such_application"},
        "The new settings do not work: ": {"celery_workers": [worker | {"arguments": ["--no-such-option"]}, *others]},
    }
    deployments = Deployments(site.platform.inventory)
    before = [site.run(f"stat -c '%U %G %a' {entry['dest']}; cat {entry['dest']}") for entry in files]
    for said, settings in broken.items():
        done = deployments.run(celery_files=files, **settings)
        assert (done.status != 0, said in done.said) == (True, True), done.said[-3000:]
        assert "Ship the application's files" in done.said
        found = [site.run(f"stat -c '%U %G %a' {entry['dest']}; cat {entry['dest']}") for entry in files]
        assert found == before, settings
        site.run("test -e /opt/celery/before", status=1)
