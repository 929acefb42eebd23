"""What a release holds, and what names it."""

from __future__ import annotations

import json
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.build import build
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.request import ReleaseError, Request

from tests.unit.plugins.release.support import HERE, TASKS, UV, names, read


@pytest.mark.parametrize("python", ["3.11", "3.13"])
def test_layout(request_: Request, python: str) -> None:
    result = build(replace(request_, python_version=python))
    top, deps = result.release_id, result.deps_id
    site = f"lib/python{python}/site-packages"
    assert {len(top), len(deps)} == {12}
    inside = names(result.release_archive)
    assert {f"{top}/app/tasks.py", f"{top}/runtime/celery_on_hosts/__init__.py", f"{top}/bin/python"} <= set(inside)
    assert read(result.release_archive, f"{top}/pyvenv.cfg").startswith("home = /usr/bin\n")
    assert read(result.release_archive, f"{top}/{site}/release.pth").splitlines() == [
        f"import site; site.addsitedir('/opt/celery/deps/{deps}/{site}')",
        f"/opt/celery/releases/{top}/app",
        f"/opt/celery/releases/{top}/runtime",
    ]
    assert {f"{deps}/{site}/{name}.py" for name in ("celery", "vine", "redis", "gunicorn")} <= set(
        names(result.deps_archive)
    )
    assert read(result.release_archive, f"{top}/bin/gunicorn").startswith(f"#!/opt/celery/releases/{top}/bin/python\n")
    assert not [name for name in inside if name == f"{top}/bin/celery"]  # /usr/local/bin/celery loads the settings
    told = json.loads(read(result.release_archive, f"{top}/release.json"))
    assert (told["release_id"], told["deps_id"], told["app"], told["python"]) == (top, deps, "tasks", python)


def test_release_runs_without_python3_venv(request_: Request, tmp_path: Path) -> None:
    system = subprocess.run(
        ["/usr/bin/python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
        capture_output=True, text=True, check=False,
    ) if Path("/usr/bin/python3").exists() else None  # fmt: skip
    if system is None:
        pytest.skip("no /usr/bin/python3 here")
    (request_.source / "pyproject.toml").write_text(
        "[project]\nname='My.App'\nversion='1.2'\n[project.entry-points.demo]\nhello='tasks:app'\n"
    )
    root = tmp_path / "opt"
    result = build(replace(request_, python_version=system.stdout.strip(), install_root=str(root)))
    for archive, place in ((result.deps_archive, "deps"), (result.release_archive, "releases")):
        (root / place).mkdir(parents=True)
        with tarfile.open(archive) as tar:
            tar.extractall(root / place, filter="tar")
    (root / "current").symlink_to(f"releases/{result.release_id}")
    code = (
        "import tasks, celery, celery_on_hosts, sys; from importlib.metadata import version, entry_points; "
        "print(version('my-app'), entry_points(group='demo')['hello'].load().__class__.__name__, tasks.__file__)"
    )
    done = subprocess.run([root / "current/bin/python", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1.2", "Celery", f"{root}/releases/{result.release_id}/app/tasks.py"]


def test_second_build_calls_nothing_and_same_input_gives_same_bytes(request_: Request, tmp_path: Path) -> None:
    first = build(request_)
    again = build(replace(request_, uv="/nonexistent/uv"))
    assert first.changed
    assert not again.changed
    assert (again.release_id, again.deps_id) == (first.release_id, first.deps_id)
    elsewhere = build(replace(request_, output=tmp_path / "other"))
    assert elsewhere.deps_archive.read_bytes() == first.deps_archive.read_bytes()
    assert elsewhere.release_archive.read_bytes() == first.release_archive.read_bytes()


def test_code_change_makes_a_release_but_no_packages(request_: Request) -> None:
    first = build(request_)
    (request_.source / "tasks.py").write_text(TASKS + "# more\n")
    second = build(replace(request_, uv="/nonexistent/uv"))
    assert second.changed
    assert second.release_id != first.release_id
    assert second.deps_id == first.deps_id


def test_what_changes_an_id(request_: Request) -> None:
    first = build(request_)
    (request_.source / "tasks.py").chmod(0o755)
    assert build(request_).release_id != first.release_id
    (request_.source / "requirements.txt").write_text("celery==5.6.0\n")
    assert build(request_).deps_id != first.deps_id
    assert build(replace(request_, install_root="/srv/celery")).deps_id != first.deps_id


def test_archives_are_closed_to_others(request_: Request) -> None:
    (request_.source / "tasks.py").chmod(0o666)
    result = build(request_)
    for archive in (result.release_archive, result.deps_archive):
        with tarfile.open(archive) as tar:
            for member in tar:
                assert member.uid == member.gid == 0
                assert member.issym() or not member.mode & 0o022, member.name
        assert archive.stat().st_mode & 0o077 == 0


def test_app_keeps_its_own_version_of_what_the_platform_needs(request_: Request) -> None:
    (request_.source / "requirements.txt").write_text("celery==5.7.0\nredis==7.0.0\n")
    result = build(request_)
    site = f"{result.deps_id}/lib/python{HERE}/site-packages"
    assert read(result.deps_archive, f"{site}/redis.py") == "version = '7.0.0'\n"


def test_packages_alone(request_: Request, tmp_path: Path) -> None:
    lock = tmp_path / "flower.lock"
    lock.write_text("flower==1.0\ncelery==5.7.0\nvine==1.0\n")
    result = build(Request(source=lock, output=request_.output, kind="packages", python_version=HERE, uv=UV))
    inside = names(result.release_archive)
    assert not [name for name in inside if "/app" in name or "/runtime" in name]
    assert not [name for name in names(result.deps_archive) if f"{result.deps_id}/bin" in name]


@pytest.mark.parametrize(
    ("change", "message", "advice"),
    [
        ({"app": "task"}, "has no module task", "Did you mean tasks?"),
        ({"app": "my-app"}, "celery_app is 'my-app'", "what `celery -A` takes"),
        ({"python_version": "3"}, "python_version is '3'", "such as 3.13"),
        ({"platform": "mips"}, "platform is 'mips'", "x86_64, aarch64"),
        ({"uv": "/nonexistent/uv"}, "uv cannot be run", "make setup"),
        ({"source": Path("/nonexistent")}, "celery_app_source is /nonexistent: no such folder", "your application"),
    ],
)
def test_wrong_arguments(request_: Request, change: dict[str, object], message: str, advice: str) -> None:
    with pytest.raises(ReleaseError) as caught:
        build(replace(request_, **change))  # type: ignore[arg-type]
    assert message in caught.value.message
    assert advice in caught.value.advice
