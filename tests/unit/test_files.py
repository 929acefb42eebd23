"""The module files compares paths with what is wanted, and never leaves a file half written."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from tests.unit.modules import run_module

ME = {"owner": pwd.getpwuid(os.getuid()).pw_name, "group": grp.getgrgid(os.getgid()).gr_name}


def run(*entries: dict[str, Any], check: bool = False) -> dict[str, Any]:
    """Return a function that runs the module for files of this user."""
    return run_module("files", files=[ME | entry for entry in entries], check=check)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_what_is_missing_is_made_and_a_second_run_changes_nothing(tmp_path: Path) -> None:
    entries: list[dict[str, Any]] = [
        {"dest": f"{tmp_path}/folder", "state": "directory", "mode": "0750"},
        {"dest": f"{tmp_path}/folder/file", "content": "grün\n"},
        {"dest": f"{tmp_path}/folder/secret", "secret": "s3cret\n", "mode": "0640"},
        {"dest": f"{tmp_path}/current", "link": "folder"},
        {"dest": f"{tmp_path}/gone", "state": "absent"},
    ]
    done = run(*entries)
    assert done["files"] == [entry["dest"] for entry in entries[:4]]
    assert (tmp_path / "folder/file").read_text() == "grün\n"
    assert mode(tmp_path / "folder") == 0o750
    assert mode(tmp_path / "folder/file") == 0o644
    assert mode(tmp_path / "folder/secret") == 0o640
    assert os.readlink(tmp_path / "current") == "folder"
    assert run(*entries)["changed"] is False


def test_only_what_differs_is_written(tmp_path: Path) -> None:
    same, other = tmp_path / "same", tmp_path / "other"
    entries = [{"dest": str(same), "content": "1"}, {"dest": str(other), "content": "1"}]
    run(*entries)
    before = same.stat().st_ino
    entries[1]["content"] = "2"
    assert run(*entries)["files"] == [str(other)]
    assert same.stat().st_ino == before


def test_a_mode_is_set_right_without_a_change_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("1")
    path.chmod(0o666)
    assert run({"dest": str(path), "content": "1", "mode": "0600"})["changed"]
    assert mode(path) == 0o600


def test_a_reader_sees_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with path.open() as reader:
        run({"dest": str(path), "content": "new"})
        assert reader.read() == "old"
    assert path.read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"], "nothing temporary is left"


def test_a_link_is_switched_also_over_one_that_an_interrupted_run_left(tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to("a")
    (tmp_path / "current.new").symlink_to("x")
    assert run({"dest": f"{tmp_path}/current", "link": "b"})["changed"]
    assert os.readlink(tmp_path / "current") == "b"


def test_one_kind_takes_the_place_of_another(tmp_path: Path) -> None:
    path = tmp_path / "path"
    path.mkdir()
    run({"dest": str(path), "content": "1"})
    assert path.read_text() == "1"
    run({"dest": str(path), "link": "elsewhere"})
    assert path.is_symlink()
    run({"dest": str(path), "state": "absent"})
    assert not path.is_symlink()


def test_a_folder_that_is_not_empty_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/file").touch()
    done = run({"dest": f"{tmp_path}/folder", "state": "absent"})
    assert done["failed"]
    assert f"{tmp_path}/folder" in done["msg"]


def test_a_dry_run_only_tells(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old\n")
    done = run({"dest": str(path), "content": "new\n"}, {"dest": f"{tmp_path}/link", "link": "x"}, check=True)
    assert done["files"] == [str(path), f"{tmp_path}/link"]
    assert path.read_text() == "old\n"
    assert not (tmp_path / "link").is_symlink()
    assert "old\n" in done["diff"][0]["before"]
    assert "new\n" in done["diff"][0]["after"]


def test_a_secret_is_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("the old one")
    done = run({"dest": str(path), "secret": "the new one", "mode": "0600"}, check=True)
    assert done["changed"]
    assert "the old one" not in str(done["diff"])
    assert "the new one" not in str(done["diff"])


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"owner": "nobody-of-this-name", "content": ""}, "nobody-of-this-name"),
        ({}, "needs content, secret or block"),
    ],
)
def test_what_cannot_be_is_said_with_its_path(tmp_path: Path, entry: dict[str, Any], message: str) -> None:
    done = run({"dest": f"{tmp_path}/file"} | entry)
    assert done["failed"]
    assert f"{tmp_path}/file: " in done["msg"]
    assert message in done["msg"]
    assert not (tmp_path / "file").exists()


def test_a_secret_is_in_no_log_of_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []
    monkeypatch.setattr("ansible.module_utils.basic.AnsibleModule.log", lambda self, text, **_: logged.append(text))
    run({"dest": f"{tmp_path}/secret", "secret": "A='s3cret'\nB='hush'\n"})
    assert "s3cret" not in "".join(logged)
