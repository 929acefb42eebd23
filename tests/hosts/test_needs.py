"""What the application needs on its hosts beside its release: Debian packages, and files of the controller."""

from __future__ import annotations

import pytest

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
