"""The release builder, with real uv and wheels made on the spot: no network."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.celery_on_hosts.platform.plugins.module_utils import release
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.release import ReleaseError, Request, build

UV = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}") or "uv"
HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
TASKS = "from celery import Celery\napp = Celery('tasks')\n"


def make_wheel(
    folder: Path, name: str, version: str = "1.0", tag: str = "py3-none-any", requires: str = "", code: str = ""
) -> Path:
    """Write a wheel of one module."""
    path = folder / f"{name}-{version}-{tag}.whl"
    info = f"{name}-{version}.dist-info"
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", code or f"version = '{version}'\n")
        wheel.writestr(f"{info}/METADATA", head + (f"Requires-Dist: {requires}\n" if requires else ""))
        wheel.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n")
        wheel.writestr(f"{info}/entry_points.txt", f"[console_scripts]\n{name} = {name}:main\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of wheels that stands for the package index."""
    folder = tmp_path_factory.mktemp("index")
    make_wheel(folder, "celery", "5.7.0", requires="vine", code="class Celery:\n    def __init__(self, *a, **k): ...\n")
    make_wheel(folder, "celery", "5.6.0", requires="vine")
    make_wheel(folder, "vine")
    make_wheel(folder, "redis", "8.1.0")
    make_wheel(folder, "redis", "7.0.0")
    make_wheel(folder, "gunicorn")
    make_wheel(folder, "flower", requires="celery")
    make_wheel(folder, "fast", tag="cp311-cp311-manylinux_2_17_x86_64")
    make_wheel(folder, "fast", tag="cp313-cp313-manylinux_2_17_x86_64", version="2.0")
    return folder


@pytest.fixture
def request_(tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> Request:
    """A plain tasks.py with a requirements.txt, and a runtime."""
    config = tmp_path / "uv.toml"
    config.write_text(f'no-index = true\nfind-links = ["{index}"]\ncache-dir = "{tmp_path}/uv"\n')
    monkeypatch.setenv("UV_CONFIG_FILE", str(config))
    source = tmp_path / "app"
    source.mkdir()
    (source / "tasks.py").write_text(TASKS)
    (source / "requirements.txt").write_text("celery==5.7.0\n")
    runtime = tmp_path / "runtime"
    (runtime / "celery_on_hosts").mkdir(parents=True)
    (runtime / "celery_on_hosts" / "__init__.py").write_text("")
    (runtime / "requirements.lock").write_text("redis==8.1.0\ngunicorn==1.0\n")
    return Request(source=source, output=tmp_path / "cache", app="tasks", python_version=HERE, runtime=runtime, uv=UV)


def names(archive: Path) -> list[str]:
    with tarfile.open(archive) as tar:
        return [member.name for member in tar]


def read(archive: Path, name: str) -> str:
    with tarfile.open(archive) as tar:
        file = tar.extractfile(name)
        assert file
        return file.read().decode()


# --- what is built


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
    assert read(result.deps_archive, f"{deps}/bin/celery").startswith("#!/opt/celery/current/bin/python\n")
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


# --- what goes in


def test_debris_stays_out_and_src_is_on_the_path(request_: Request) -> None:
    source = request_.source
    for name in (".git/config", ".venv/x.py", "__pycache__/tasks.pyc", "node_modules/a.js", ".env"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text("x")
    shutil.rmtree(source / ".git")
    (source / "src/proj").mkdir(parents=True)
    (source / "src/proj/__init__.py").write_text(TASKS)
    result = build(replace(request_, app="proj"))
    assert not [name for name in names(result.release_archive) if ".venv" in name or ".env" in name or "pyc" in name]
    pth = read(result.release_archive, f"{result.release_id}/lib/python{HERE}/site-packages/release.pth")
    assert f"/opt/celery/releases/{result.release_id}/app/src\n" in pth


def test_git_says_what_is_ignored(request_: Request) -> None:
    source = request_.source
    subprocess.run(["git", "init", "-q", str(source)], check=True)
    (source / ".gitignore").write_text("secret.txt\n")
    (source / "secret.txt").write_text("x")
    (source / "new.txt").write_text("not added yet, and not ignored")
    inside = names(build(request_).release_archive)
    assert [name for name in inside if name.endswith("new.txt")]
    assert not [name for name in inside if name.endswith("secret.txt")]


def test_links(request_: Request) -> None:
    (request_.source / "alias.py").symlink_to("tasks.py")
    build(request_)
    (request_.source / "outside").symlink_to("../runtime")
    with pytest.raises(ReleaseError, match=r"outside is a link to \.\./runtime"):
        build(request_)


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
    assert release.locked_names(release.find_lock(request_.source)) >= {"celery", "vine"}


def test_unpinned_requirements_build_with_a_warning(request_: Request) -> None:
    (request_.source / "requirements.txt").write_text("-r base.txt\n-e .\n")
    (request_.source / "base.txt").write_text("celery>=5\n")
    result = build(request_)
    assert "does not pin" in result.warnings[0]


def test_a_list_that_leaves_packages_out_builds_with_a_warning(request_: Request) -> None:
    assert "does not list vine:" in build(request_).warnings[0]


def test_what_was_compiled_here_is_told(request_: Request, index: Path) -> None:
    tag = f"cp{HERE.replace('.', '')}-cp{HERE.replace('.', '')}-linux_x86_64"
    make_wheel(index, "compiled", tag=tag)
    (request_.source / "requirements.txt").write_text("celery==5.7.0\nvine==1.0\ncompiled==1.0\n")
    assert "Compiled on this controller" in build(request_).warnings[0]


# --- what is refused, and in which words


def test_hashes_are_held_to(request_: Request) -> None:
    (request_.source / "requirements.txt").write_text(f"celery==5.7.0 --hash=sha256:{'0' * 64}\nvine==1.0\n")
    with pytest.raises(ReleaseError) as caught:
        build(request_)
    assert "hash" in caught.value.message
    assert not list(request_.output.glob("*.tar.gz"))
    assert not list(request_.output.glob(".build-*"))


def test_no_wheel_for_the_hosts_python(request_: Request) -> None:
    (request_.source / "requirements.txt").write_text("celery==5.7.0\nfast==1.0\n")
    build(replace(request_, python_version="3.11"))
    with pytest.raises(ReleaseError, match=r"fast==1\.0 has no wheel for Python 3\.13"):
        build(replace(request_, python_version="3.13"))


def test_syntax_error_names_file_and_line(request_: Request) -> None:
    (request_.source / "tasks.py").write_text("x = 1\ndef f(:\n")
    with pytest.raises(ReleaseError, match=r"app/tasks\.py:2: "):
        build(request_)


def test_newer_syntax_than_the_controllers_is_left_to_the_hosts(request_: Request) -> None:
    newer = f"3.{sys.version_info[1] + 1}"
    (request_.source / "tasks.py").write_text("def f(:\n")
    result = build(replace(request_, python_version=newer))
    assert f"the hosts have {newer} and check again" in result.warnings[0]


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


@pytest.mark.parametrize(
    ("lock", "message"),
    [
        ("vine==1.0\n", "does not bring celery"),
        ("celery==9.9\n", "do not exist or do not fit together"),
        ("celery==5.7.0\n-e ./lib\n", r"requirements.txt:2 installs from a path"),
        ("celery==5.7.0\n-r missing.txt\n", "missing.txt cannot be read"),
        ("celery==5.7.0\n-c limits.txt\n", "constraints file"),
    ],
)
def test_wrong_locks(request_: Request, lock: str, message: str) -> None:
    (request_.source / "requirements.txt").write_text(lock)
    with pytest.raises(ReleaseError, match=message):
        build(request_)


def test_no_lock(request_: Request) -> None:
    (request_.source / "requirements.txt").unlink()
    (request_.source / "poetry.lock").write_text("")
    with pytest.raises(ReleaseError, match="No lock file") as caught:
        build(request_)
    assert "poetry export" in caught.value.advice


@pytest.mark.parametrize(
    ("wanted", "version", "fits"),
    [
        (">=3.12", "3.11", False),
        (">=3.11,<3.14", "3.13", True),
        ("<3.13", "3.13", False),
        ("~=3.11", "3.13", True),
        ("==3.11.*", "3.13", False),
        ("", "3.13", True),
    ],
)
def test_requires_python(wanted: str, version: str, fits: bool) -> None:
    project = {"project": {"requires-python": wanted}}
    if fits:
        release.check_python(project, Path("app"), version)
    else:
        with pytest.raises(ReleaseError, match="requires Python"):
            release.check_python(project, Path("app"), version)


# --- the cache


def test_interrupted_build_leaves_nothing_that_counts(request_: Request) -> None:
    first = build(request_)
    first.release_archive.unlink()
    left = request_.output / ".build-left"
    left.mkdir()
    part = request_.output / f".{first.release_archive.name}.part"
    part.write_text("half")
    assert build(request_).changed
    assert not left.exists()
    assert not part.exists()


def test_old_archives_go(request_: Request) -> None:
    for number in range(4):
        (request_.source / "tasks.py").write_text(f"{TASKS}# {number}\n")
        last = build(replace(request_, keep=2))
        os.utime(last.release_archive, (number, number))
    assert len(list(request_.output.glob("release-*.tar.gz"))) == 2
    assert last.release_archive.exists()


def test_archives_that_were_just_used_stay(request_: Request) -> None:
    """Another deployment may be about to send them."""
    for number in range(4):
        (request_.source / "tasks.py").write_text(f"{TASKS}# {number}\n")
        build(replace(request_, keep=2))
    assert len(list(request_.output.glob("release-*.tar.gz"))) == 4
