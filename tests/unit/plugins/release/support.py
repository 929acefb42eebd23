"""Wheels and archives for the tests of the release builder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

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


BACKEND = """
import zipfile

NAME, VERSION = {name!r}, "1.0"


def build_wheel(folder, config_settings=None, metadata_directory=None):
    import pathlib
    wheel = f"{{NAME}}-{{VERSION}}-py3-none-any.whl"
    info = f"{{NAME}}-{{VERSION}}.dist-info"
    with zipfile.ZipFile(pathlib.Path(folder) / wheel, "w") as file:
        for path in pathlib.Path().rglob("*.py"):
            if path.name != "backend.py":
                file.write(path)
        file.writestr(f"{{info}}/METADATA", f"Metadata-Version: 2.1\\nName: {{NAME}}\\nVersion: {{VERSION}}\\n")
        file.writestr(f"{{info}}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        file.writestr(f"{{info}}/RECORD", "")
    return wheel


build_editable = build_wheel
"""


def make_project(folder: Path, name: str, code: str = "") -> Path:
    """Write a project that builds without a network."""
    folder.mkdir(parents=True)
    (folder / f"{name}.py").write_text(code or "version = '1.0'\n")
    (folder / "backend.py").write_text(BACKEND.format(name=name))
    (folder / "pyproject.toml").write_text(
        f"[project]\nname = '{name}'\nversion = '1.0'\nrequires-python = '>=3.11'\n"
        "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"
    )
    return folder


def git(folder: Path, *arguments: str) -> None:
    """Run git in a folder, as somebody who has a name."""
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "protocol.file.allow=always"]
    subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True)


def commit(folder: Path) -> None:
    """Make a folder a git repository, and commit its files."""
    git(folder, "init", "-q", "--initial-branch=master")
    git(folder, "add", "--all")
    git(folder, "commit", "-qm", "one")


def names(archive: Path) -> list[str]:
    with tarfile.open(archive) as tar:
        return [member.name for member in tar]


def read(archive: Path, name: str) -> str:
    with tarfile.open(archive) as tar:
        file = tar.extractfile(name)
        assert file
        return file.read().decode()
