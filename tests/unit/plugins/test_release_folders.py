"""Folders that an application writes, and static files that belong to a release."""

from __future__ import annotations

import getpass
import grp
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.modules import run_module

ME, MINE = getpass.getuser(), grp.getgrgid(os.getgid()).gr_name


class Host:
    """A host with one release, whose application ships some files."""

    def __init__(self, folder: Path) -> None:
        self.root, self.data = folder / "celery", folder / "data"
        self.release = self.root / "releases" / "r1"
        self.app = self.release / "app"
        for name in ("tasks.py", "media/.gitkeep", "dist/app.js"):
            (self.app / name).parent.mkdir(parents=True, exist_ok=True)
            (self.app / name).write_text(name)
            os.utime(self.app / name, (315532800, 315532800))

    def run(self, **arguments: Any) -> dict[str, Any]:
        """Run the module."""
        common = {"root": str(self.root), "release": "r1", "data": str(self.data), "owner": ME, "web_group": MINE}
        return run_module("release_folders", **(common | arguments))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Return a host."""
    return Host(tmp_path)


def test_state_is_linked_and_kept_over_releases(host: Host) -> None:
    state = ["media/", "db.sqlite3", "logs/app/"]
    assert host.run(state=state, served=["media/"])["changed"]
    (host.app / "db.sqlite3").write_text("rows")
    (host.app / "logs/app/x.log").write_text("line")
    assert (host.data / "db.sqlite3").read_text() == "rows"
    assert (host.data / "logs/app/x.log").read_text() == "line"
    assert (host.data / "media/.gitkeep").exists(), "what ships is there at the beginning"
    assert (host.data / "media").stat().st_mode & 0o7777 == 0o2750
    assert not host.run(state=state, served=["media/"])["changed"]

    (host.data / "media/.gitkeep").write_text("changed since")
    second = host.root / "releases/r2/app/media"
    second.mkdir(parents=True)
    (second / ".gitkeep").write_text("shipped again")
    host.run(release="r2", state=state)
    assert (second / ".gitkeep").read_text() == "changed since"


def test_static_files_are_made_once_and_belong_to_the_release(host: Host) -> None:
    script = "import pathlib; pathlib.Path(r'APP/staticfiles/a.css').write_text('a')".replace("APP", str(host.app))
    made = {
        "static": ["staticfiles/", "dist/"],
        "commands": [f'-c "{script}"'],
        "runner": [sys.executable],
        "configuration": "1",
    }
    assert f"ran {made['commands'][0]}" in host.run(**made)["done"]
    static = host.release / "static"
    assert (static / "staticfiles/a.css").read_text() == "a"
    assert (static / "dist/app.js").read_text() == (host.app / "dist/app.js").read_text() == "dist/app.js"
    assert (static / "dist/app.js").stat().st_mtime > 1_000_000_000, "files of two releases differ in their time"
    assert [path.stat().st_mode & 0o777 for path in (static, static / "dist/app.js")] == [0o755, 0o644]
    assert not host.run(**made)["changed"]
    assert host.run(**made | {"configuration": "2"})["changed"], "the application's settings changed"


def test_a_command_that_fails_says_what_it_wrote_and_the_next_is_not_run(host: Host) -> None:
    script = "import sys; print('no such storage'); sys.exit(3)"
    result = host.run(static=["staticfiles/"], commands=[f'-c "{script}"', "-c 1/0"], runner=[sys.executable])
    assert result["failed"]
    assert "ended with 3" in result["msg"]
    assert "no such storage" in result["msg"]
    assert "ZeroDivision" not in result["msg"]
    assert host.run(static=["staticfiles/"], commands=["-c pass"], runner=[sys.executable])["changed"]


def test_a_command_that_lacks_an_extension_says_which_variable_brings_it(host: Host) -> None:
    script = "raise SystemExit('extension \\\\x22postgis\\\\x22 is not available')"
    result = host.run(static=["s/"], commands=[f'-c "{script}"'], runner=[sys.executable])
    assert "celery_database_extensions: [postgis]," in result["msg"]


def test_a_dry_run_changes_nothing(host: Host) -> None:
    said = host.run(
        state=["media/"], static=["staticfiles/"], commands=["-c pass"], runner=[sys.executable], check=True
    )
    assert said["changed"]
    assert not host.data.exists()
    assert not (host.release / "static").exists()


def test_commands_see_their_environment(host: Host) -> None:
    script = "import os, sys; sys.exit(os.environ['CELERY_USE_RELEASE'])"
    environment = {"CELERY_USE_RELEASE": "/opt/celery/releases/r1"}
    said = host.run(static=["s/"], commands=[f'-c "{script}"'], runner=[sys.executable], environment=environment)
    assert "/opt/celery/releases/r1" in said["msg"]
