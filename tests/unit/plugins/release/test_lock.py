"""Locks of each format are read, and locks that hosts cannot use are refused."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.build import build
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.lock import (
    Lock,
    find_lock,
    locked_names,
    locked_version,
    pinned,
)
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.request import ReleaseError, Request

from tests.unit.plugins.release.support import HERE, UV, commit, make_project, make_wheel, names, read


def write_uv_lock(source: Path) -> None:
    (source / "pyproject.toml").write_text('[project]\nname="a"\nversion="1"\ndependencies=["celery==5.7.0"]\n')
    subprocess.run([UV, "lock", "-q", "--directory", str(source), "--python", sys.executable], check=True)
    (source / "requirements.txt").unlink()


def write_pylock(source: Path) -> None:
    config = Path(os.environ["UV_CONFIG_FILE"])
    index = config.read_text().split('find-links = ["')[1].split('"')[0]
    package = (
        '[[packages]]\nname = "{0}"\nversion = "{1}"\nwheels = [{{ path = "{2}", hashes = {{ sha256 = "{3}" }} }}]\n'
    )
    text = 'lock-version = "1.0"\ncreated-by = "test"\nrequires-python = ">=3.13"\n'
    for name, version in (("celery", "5.7.0"), ("vine", "1.0")):
        path = Path(index) / f"{name}-{version}-py3-none-any.whl"
        text += package.format(name, version, path, hashlib.sha256(path.read_bytes()).hexdigest())
    (source / "pylock.toml").write_text(text)
    (source / "requirements.txt").unlink()


@pytest.mark.parametrize("write", [write_uv_lock, write_pylock])
def test_other_locks(request_: Request, write: Callable[[Path], None]) -> None:
    write(request_.source)
    result = build(replace(request_, python_version="3.13"))
    assert f"{result.deps_id}/lib/python3.13/site-packages/vine.py" in names(result.deps_archive)
    assert locked_names(find_lock(request_.source)) >= {"celery", "vine"}


def test_unpinned_requirements_build_with_a_warning(request_: Request) -> None:
    (request_.source / "requirements.txt").write_text("-r base.txt\n-e .\n")
    (request_.source / "base.txt").write_text("celery>=5\n")
    result = build(request_)
    assert "does not pin" in result.warnings[0]


def test_a_list_that_leaves_packages_out_builds_with_a_warning(request_: Request) -> None:
    assert "does not list vine:" in build(request_).warnings[0]


def test_hashes_are_held_to(request_: Request) -> None:
    (request_.source / "requirements.txt").write_text(f"celery==5.7.0 --hash=sha256:{'0' * 64}\nvine==1.0\n")
    with pytest.raises(ReleaseError) as caught:
        build(request_)
    assert "hash" in caught.value.message
    assert not list(request_.output.glob("*.tar.gz"))
    assert not list(request_.output.glob(".build-*"))


@pytest.mark.parametrize(
    ("lock", "message"),
    [
        ("vine==1.0\n", "does not bring celery"),
        ("celery==9.9\n", "do not exist or do not fit together"),
        ("celery==5.7.0\n-e ./lib\n", r"requirements.txt:2 installs from ./lib, and there is no such file or folder"),
        ("celery==5.7.0\n./empty\n", r"requirements.txt:2 installs from ./empty, which has none of pyproject.toml"),
        ("--find-links vendor\ncelery==5.7.0\n", r"requirements.txt:1 looks for packages in vendor, which does not"),
        ("celery==5.7.0\npkg_resources==0.0.0\n", r"requirements.txt:2: pkg_resources==0.0.0 is an artefact of Debian"),
        ("celery==5.7.0\n-e hg+https://example.org/x#egg=x\n", r"requirements.txt:2 installs from a hg repository"),
        ("celery==5.7.0\nnowhere==1.0\n", r"nowhere is not in the package index"),
        ("celery==5.7.0\n-r missing.txt\n", "missing.txt cannot be read"),
        ("celery==5.7.0\n-c limits.txt\n", "limits.txt cannot be read"),
    ],
)
def test_wrong_locks(request_: Request, lock: str, message: str) -> None:
    (request_.source / "requirements.txt").write_text(lock)
    (request_.source / "empty").mkdir()
    with pytest.raises(ReleaseError, match=message):
        build(request_)


def test_no_lock(request_: Request) -> None:
    (request_.source / "requirements.txt").unlink()
    (request_.source / "poetry.lock").write_text("")
    with pytest.raises(ReleaseError, match="No lock file") as caught:
        build(request_)
    assert "poetry export" in caught.value.advice


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("celery==5.7.0\n", True),
        ("celery[redis] == 5.7.0 \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\n", True),
        ("celery @ https://example.org/celery-5.7.0-py3-none-any.whl\n", True),
        ("celery==5.7.0  # the latest\n", True),
        ("celery>=5\n", False),
        ("celery\n", False),
        ('celery>=5; python_version == "3.13"\n', False),
        ("celery==5.7.0\nvine\n", False),
        ("git+https://example.org/x.git@1.0\n", True),
        ("git+ssh://git@example.org/x.git\n", False),
        ("x @ git+https://example.org/x.git\n", False),
    ],
)
def test_pinned(text: str, expected: bool) -> None:
    assert pinned(Lock(Path("requirements.txt"), text)) is expected


def packages(request_: Request) -> dict[str, str]:
    """Build, and return the packages' versions by name."""
    manifest = build(request_).deps_archive.with_suffix("").with_suffix(".json")
    found: dict[str, str] = json.loads(manifest.read_text())["packages"]
    return found


@pytest.mark.parametrize(
    "data",
    [
        "celery==5.7.0\r\nvine==1.0\r\n".encode("utf-16"),
        b"\xef\xbb\xbfcelery==5.7.0\nvine==1.0\n",
        "celery==5.7.0  # für Müller\nvine==1.0\n".encode("latin-1"),
        "# -*- coding: cp1252 -*-\ncelery==5.7.0  # „so“\nvine==1.0\n".encode("cp1252"),
    ],
)
def test_locks_in_other_encodings_build(request_: Request, data: bytes) -> None:
    (request_.source / "requirements.txt").write_bytes(data)
    assert {"celery", "vine"} <= packages(request_).keys()


@pytest.mark.parametrize(
    ("data", "line", "encoding"),
    [
        ("celery==5.7.0\nvüne==1.0\n".encode("latin-1"), 2, "latin1"),
        ("celery==5.7.0\nvine==1.0\n".encode("utf-16-le"), 1, "utf-16le"),
    ],
)
def test_a_lock_that_cannot_be_read_names_file_line_and_remedy(
    request_: Request, data: bytes, line: int, encoding: str
) -> None:
    (request_.source / "requirements.txt").write_bytes(data)
    with pytest.raises(ReleaseError, match=rf"requirements\.txt:{line} is not UTF-8") as caught:
        build(request_)
    assert f"iconv -f {encoding} -t utf-8 requirements.txt" in caught.value.advice


def test_constraints_choose_the_versions(request_: Request) -> None:
    (request_.source / "requirements.txt").write_text("-c limits.txt\ncelery\nvine==1.0\nredis\n")
    (request_.source / "limits.txt").write_text("celery==5.6.0\nredis<8\n")
    first = build(request_)
    assert "does not pin" in first.warnings[0]
    assert packages(request_)["celery"] == "5.6.0"
    (request_.source / "limits.txt").write_text("celery==5.7.0\nredis==7.0.0\n")
    second = build(request_)
    assert second.warnings == []
    assert second.deps_id != first.deps_id
    assert packages(request_)["celery"] == "5.7.0"


@pytest.mark.parametrize(
    "line", ["--find-links vendor\nourlib==2.0\n", "./vendor/{0}\n", "vendor/{0}\n", "ourlib @ file:vendor/{0}\n"]
)
def test_wheels_of_the_folder(request_: Request, line: str) -> None:
    vendor = request_.source / "vendor"
    vendor.mkdir()
    wheel = make_wheel(vendor, "ourlib", "2.0")
    (request_.source / "requirements.txt").write_text(f"celery==5.7.0\nvine==1.0\n{line.format(wheel.name)}")
    first = build(request_)
    assert packages(request_)["ourlib"] == "2.0"
    assert first.warnings == []
    make_wheel(vendor, "ourlib", "2.0", code="changed = True\n")
    assert build(request_).deps_id != first.deps_id


@pytest.mark.parametrize("line", ["./libs/ours", "-e ./libs/ours", "--editable=libs/ours", "ours @ file:libs/ours"])
def test_projects_of_the_folder_are_built(request_: Request, line: str) -> None:
    project = make_project(request_.source / "libs/ours", "ours")
    (request_.source / "requirements.txt").write_text(f"celery==5.7.0\nvine==1.0\n{line}\n")
    first = build(request_)
    site = f"{first.deps_id}/lib/python{HERE}/site-packages"
    assert read(first.deps_archive, f"{site}/ours.py") == "version = '1.0'\n"
    assert not [name for name in names(first.deps_archive) if name.endswith(("direct_url.json", ".pth"))]
    assert first.warnings == []
    (project / "ours.py").write_text("changed = True\n")
    second = build(request_)
    assert read(second.deps_archive, f"{second.deps_id}/lib/python{HERE}/site-packages/ours.py") == "changed = True\n"
    assert {path.name for path in project.iterdir()} == {"ours.py", "backend.py", "pyproject.toml"}


def test_the_lock_is_the_same_wherever_the_folder_is(request_: Request, tmp_path: Path) -> None:
    make_project(request_.source / "libs/ours", "ours")
    (request_.source / "requirements.txt").write_text("celery==5.7.0\nvine==1.0\n./libs/ours\n")
    first = build(request_)
    shutil.copytree(request_.source, tmp_path / "elsewhere")
    again = build(replace(request_, source=tmp_path / "elsewhere", output=tmp_path / "other"))
    assert again.deps_id == first.deps_id
    assert again.deps_archive.read_bytes() == first.deps_archive.read_bytes()


def test_a_repository_is_built(request_: Request, tmp_path: Path) -> None:
    project = make_project(tmp_path / "ours", "ours")
    commit(project)
    text = "celery==5.7.0\nvine==1.0\n-e git+file://{0}@{1}#egg=ours\n"
    (request_.source / "requirements.txt").write_text(text.format(project, "master"))
    assert "ours" in packages(request_)
    (request_.source / "requirements.txt").write_text(text.format(tmp_path / "nothing", "master"))
    with pytest.raises(ReleaseError, match="git cannot fetch a repository"):
        build(request_)


def test_a_workspace_is_built(request_: Request) -> None:
    source = request_.source
    make_project(source / "libs/ours", "ours")
    (source / "pyproject.toml").write_text(
        "[project]\nname='a'\nversion='1'\nrequires-python='>=3.11'\ndependencies=['celery==5.7.0','ours']\n"
        "[tool.uv.sources]\nours = {workspace=true}\n[tool.uv.workspace]\nmembers=['libs/*']\n"
    )
    subprocess.run([UV, "lock", "-q", "--directory", str(source), "--python", sys.executable], check=True)
    (source / "requirements.txt").unlink()
    first = build(request_)
    assert {"ours", "celery", "vine"} <= packages(request_).keys()
    (source / "libs/ours/ours.py").write_text("changed = True\n")
    assert build(request_).deps_id != first.deps_id


def test_a_member_of_a_workspace_is_an_application(request_: Request, tmp_path: Path) -> None:
    make_project(tmp_path / "ours", "ours")
    (tmp_path / "pyproject.toml").write_text("[tool.uv.workspace]\nmembers=['ours', 'app']\n")
    (request_.source / "pyproject.toml").write_text(
        "[project]\nname='a'\nversion='1'\nrequires-python='>=3.11'\ndependencies=['celery==5.7.0','ours']\n"
        "[tool.uv.sources]\nours = {workspace=true}\n"
    )
    subprocess.run([UV, "lock", "-q", "--directory", str(tmp_path), "--python", sys.executable], check=True)
    (request_.source / "requirements.txt").unlink()
    with pytest.raises(ReleaseError, match="No lock file") as caught:
        build(request_)
    assert "set celery_app_lock to ../uv.lock" in caught.value.advice
    assert {"ours", "celery"} <= packages(replace(request_, lock="../uv.lock")).keys()


def test_extras_and_dependency_groups_are_installed_by_name(request_: Request) -> None:
    source = request_.source
    (source / "pyproject.toml").write_text(
        "[project]\nname='a'\nversion='1'\nrequires-python='>=3.11'\ndependencies=['celery==5.7.0']\n"
        "[project.optional-dependencies]\nProduction=['redis==7.0.0']\n[dependency-groups]\ndocker=['flower']\n"
    )
    with pytest.raises(ReleaseError, match=r"celery_app_extras is for a uv\.lock"):
        build(replace(request_, extras=["production"]))
    subprocess.run([UV, "lock", "-q", "--directory", str(source), "--python", sys.executable], check=True)
    (source / "requirements.txt").unlink()
    plain, extra = packages(request_), packages(replace(request_, extras=["production", "docker"]))
    assert plain["redis"] == "8.1.0", "the platform's own"
    assert "flower" not in plain
    assert extra["redis"] == "7.0.0"
    assert "flower" in extra
    with pytest.raises(ReleaseError, match=r"does not offer\. There are: docker, production\."):
        build(replace(request_, extras=["prod"]))


def test_a_lock_by_any_name(request_: Request) -> None:
    source = request_.source
    (source / "requirements").mkdir()
    (source / "requirements.txt").rename(source / "requirements" / "prod.txt")
    (source / "requirements" / "prod.txt").write_text("-r base.txt\n-e .\nredis==7.0.0\n")
    (source / "requirements" / "base.txt").write_text("celery==5.7.0\nvine==1.0\n")
    with pytest.raises(ReleaseError, match="No lock file") as caught:
        build(request_)
    assert "requirements/prod.txt" in caught.value.advice
    assert packages(replace(request_, lock="requirements/prod.txt"))["redis"] == "7.0.0"
    with pytest.raises(ReleaseError, match="and there is no file"):
        build(replace(request_, lock="prod.txt"))
    with pytest.raises(ReleaseError, match="which uv cannot install") as caught:
        build(replace(request_, lock="poetry.lock"))
    assert "poetry export" in caught.value.advice


def test_the_application_itself_brings_what_it_depends_on(request_: Request) -> None:
    (request_.source / "pyproject.toml").write_text(
        "[project]\nname='a'\nversion='1'\ndependencies=['celery']\n[project.optional-dependencies]\nweb=['flower']\n"
    )
    (request_.source / "requirements.txt").write_text("-e .[web]\ncelery==5.6.0\n")
    found = packages(request_)
    assert found["celery"] == "5.6.0"
    assert "flower" in found


@pytest.mark.parametrize(
    ("name", "text", "version"),
    [
        ("requirements.txt", "celery==5.2.7\nkombu==5.2.4\n", "5.2.7"),
        ("requirements.txt", "Celery[redis]==5.2.7 \\\n    --hash=sha256:aa\n", "5.2.7"),
        (
            "requirements.txt",
            "celery==5.2.7; python_version < '3.12'\ncelery==5.4.0; python_version >= '3.12'\n",
            "5.4.0",
        ),
        ("requirements.txt", "celery<5.3,>=5\n", "<5.3,>=5"),
        ("requirements.txt", "celery\n", ""),
        ("requirements.txt", "celery @ git+https://example.org/celery@abc\n", ""),
        ("requirements.txt", "django==5\n", ""),
        ("uv.lock", '[[package]]\nname = "celery"\nversion = "5.2.7"\n', "5.2.7"),
        ("pylock.toml", '[[packages]]\nname = "celery"\nversion = "5.2.7"\n', "5.2.7"),
        ("pylock.toml", '[[packages]]\nname = "celery"\n', ""),
    ],
)
def test_the_version_of_a_package(name: str, text: str, version: str) -> None:
    assert locked_version(Lock(Path("/app") / name, text), "celery") == version
