"""Programs of a release run with the release's Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import celery_on_hosts
from celery_on_hosts.program import NoProgram, resolve


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the application's folder, in which commands run, with a bin/ on PATH."""
    (tmp_path / "bin").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(celery_on_hosts.__file__).parents[1]))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin{os.pathsep}{os.environ['PATH']}")
    return tmp_path


@pytest.mark.parametrize("program", ["python", "python3", "python3.13"])
def test_python_is_the_releases(program: str) -> None:
    assert resolve([program, "-c", "pass"]) == [sys.executable, "-c", "pass"]


def test_arguments_alone_are_pythons() -> None:
    assert resolve(["-m", "django", "migrate"]) == [sys.executable, "-m", "django", "migrate"]


def test_a_name_on_path_comes_before_a_file(folder: Path) -> None:
    (folder / "flask").write_text("")
    (folder / "bin" / "flask").write_text("#!/bin/sh\n")
    (folder / "bin" / "flask").chmod(0o755)
    assert resolve(["flask", "db", "upgrade"]) == [str(folder / "bin" / "flask"), "db", "upgrade"]


@pytest.mark.parametrize("program", ["./manage.py", "manage.py"])
def test_a_script_of_the_application_runs_without_its_mode_and_first_line(folder: Path, program: str) -> None:
    (folder / "manage.py").write_text("#!/nonexistent/python3\nimport sys\nprint(sys.executable, sys.argv[1:])\n")
    done = subprocess.run(
        [sys.executable, "-m", "celery_on_hosts.program", program, "migrate"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{sys.executable} ['migrate']\n"


def test_a_shell_script_of_the_application_has_to_be_executable(folder: Path) -> None:
    script = folder / "migrate.sh"
    script.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(NoProgram, match=r"migrate\.sh is not executable: chmod \+x \./migrate\.sh") as caught:
        resolve(["./migrate.sh"])
    assert caught.value.code == 126
    script.chmod(0o755)
    done = subprocess.run([sys.executable, "-m", "celery_on_hosts.program", "./migrate.sh"], check=False)
    assert done.returncode == 3


def test_what_is_not_there_is_named(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "celery_on_hosts.program", "alembic"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (127, f"alembic: neither on PATH nor a file in {folder}\n")
