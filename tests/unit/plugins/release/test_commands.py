"""A release has the programs of its packages, and release commands that name others are refused."""

from __future__ import annotations

import subprocess
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.build import build
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.request import ReleaseError, Request

from tests.unit.plugins.release.support import make_wheel, names, read


@pytest.fixture
def with_programs(request_: Request, index: Path) -> Request:
    """Return a request whose packages bring a Python script and a binary."""
    wheel = make_wheel(index, "flask", code="def main():\n    print('flask runs')\n")
    with zipfile.ZipFile(wheel, "a") as file:
        binary = zipfile.ZipInfo("flask-1.0.data/scripts/tool")
        binary.external_attr = 0o755 << 16
        file.writestr(binary, b"\x7fELF")
    (request_.source / "requirements.txt").write_text("celery==5.7.0\nvine==1.0\nflask==1.0\n")
    (request_.source / "manage.py").write_text("")
    (request_.source / "bin").mkdir()
    (request_.source / "bin" / "migrate.sh").write_text("#!/bin/sh\n")
    (request_.source / "pyproject.toml").write_text(
        "[project]\nname='a'\nversion='1'\n[project.scripts]\nshop = 'tasks:app.start'\n"
    )
    return request_


def test_programs_run_the_release_that_they_belong_to(with_programs: Request, tmp_path: Path) -> None:
    root = tmp_path / "opt"
    python = subprocess.run(
        ["/usr/bin/python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    result = build(replace(with_programs, install_root=str(root), python_version=python))
    for archive, place in ((result.deps_archive, "deps"), (result.release_archive, "releases")):
        (root / place).mkdir(parents=True)
        with tarfile.open(archive) as tar:
            tar.extractall(root / place, filter="tar")
    folder = root / "releases" / result.release_id / "bin"
    done = subprocess.run([folder / "flask"], capture_output=True, text=True, check=True)
    assert done.stdout == "flask runs\n"
    assert (folder / "tool").resolve() == root / "deps" / result.deps_id / "bin" / "tool"
    assert (folder / "tool").read_bytes() == b"\x7fELF"
    assert "from tasks import app\n" in (folder / "shop").read_text()


def test_programs_of_the_release_may_be_named(with_programs: Request) -> None:
    commands = (
        *("python manage.py migrate", "python3 -c 'import tasks'", "python3.13 -m x", "celery -A tasks report"),
        *("flask db upgrade", "shop", "./manage.py migrate", "manage.py migrate", "bin/migrate.sh", "/bin/sh -c true"),
        *("-m django migrate",),
    )
    build(replace(with_programs, commands=commands))


@pytest.mark.parametrize(
    ("command", "message", "advice"),
    [
        ("flsk db upgrade", "the release has no program flsk", "Did you mean flask?"),
        ("alembic upgrade head", "the release has no program alembic", "Add the package that brings alembic"),
        ("./mange.py migrate", "has no file mange.py", "Did you mean ./manage.py?"),
    ],
)
def test_other_programs_are_refused(with_programs: Request, command: str, message: str, advice: str) -> None:
    build(with_programs)
    for request in (with_programs, replace(with_programs, output=with_programs.output / "new")):
        with pytest.raises(ReleaseError, match=message) as caught:
            build(replace(request, commands=("flask db upgrade", command)))
        assert f"celery_app_release_commands has `{command}`" in caught.value.message
        assert advice in caught.value.advice


def test_packages_alone_have_no_programs(with_programs: Request, tmp_path: Path) -> None:
    lock = tmp_path / "flower.lock"
    lock.write_text("flask==1.0\n")
    request = with_programs
    result = build(Request(source=lock, output=request.output, kind="packages", uv=request.uv))
    assert not [name for name in names(result.release_archive) if name.endswith("/bin/flask")]
    assert '"kind": "packages"' in read(result.release_archive, f"{result.release_id}/release.json")
