"""The programs run in UTF-8 on a host of any locale: their own start scripts, with a Python that says what it gets."""

from __future__ import annotations

import os
import shlex
import subprocess
from configparser import RawConfigParser
from pathlib import Path

import pytest

from tests.unit.rendering import ROOT, Platform

SAYS = "#!/bin/sh\nenv\n"
GERMAN = {"LANG": "de_DE.ISO-8859-1", "LC_ALL": "de_DE.ISO-8859-1", "LC_CTYPE": "de_DE.ISO-8859-1"}


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A release whose Python prints its environment."""
    for folder in ("release/bin", "release/app", "settings", "bin"):
        (tmp_path / folder).mkdir(parents=True)
    for name, text in {"release/bin/python": SAYS, "bin/id": "#!/bin/sh\necho celery\n"}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return tmp_path


def environment(*command: str, **variables: str) -> dict[str, str]:
    """The environment that a command's Python gets on a German host."""
    found = {name: value for name, value in os.environ.items() if not name.startswith("LC_")}
    said = subprocess.run(command, env=found | GERMAN | variables, check=True, capture_output=True, text=True).stdout
    return dict(line.split("=", 1) for line in said.splitlines())


def locale(said: dict[str, str]) -> dict[str, str]:
    """The variables of the locale."""
    return {name: value for name, value in said.items() if name in GERMAN}


@pytest.mark.parametrize(("own", "expected"), [("", "C.UTF-8"), ("LANG=de_DE.UTF-8", "de_DE.UTF-8")])
def test_workers_beat_and_the_web_side(release: Path, own: str, expected: str) -> None:
    """Which all start by /usr/local/bin/celery or celery-python. An application may name another locale."""
    (release / "settings/environment").write_text(f"{own}\n")
    said = environment(
        *("sh", str(ROOT / "roles/celery/files/run.sh")),
        PATH=f"{release}/bin:{os.environ['PATH']}",
        CELERY_USE_SETTINGS=f"{release}/settings",
        CELERY_USE_RELEASE=f"{release}/release",
    )
    assert locale(said) == {"LANG": expected}


def test_flower(release: Path) -> None:
    program = RawConfigParser(delimiters="=", strict=True)
    program.read_string(Platform().programs("flower"))
    (release / "settings/environment").write_text(str(Platform().files("flower")["/etc/flower/environment"]["secret"]))
    command = program["program:flower"]["command"].replace("/etc/flower/environment", f"{release}/settings/environment")
    said = environment(*shlex.split(command.replace("/opt/flower/current", f"{release}/release")))
    assert said["FLOWER_PORT"] == "5555"
    assert locale(said) == {"LANG": "C.UTF-8"}
