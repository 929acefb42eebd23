"""Files are replaced as a whole, and nobody sees what is in them."""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from tests.unit.modules import run_module

OWN = {"owner": pwd.getpwuid(os.getuid()).pw_name, "group": grp.getgrgid(os.getgid()).gr_name}
SECRET = b"hunter2\n\xff"


@pytest.fixture
def entry(tmp_path: Path) -> dict[str, Any]:
    """Return a file that is to be at a place without a folder."""
    (tmp_path / "staged").write_bytes(SECRET)
    digest = hashlib.sha256(SECRET).hexdigest()
    return {"src": "/controller/key", "dest": str(tmp_path / "srv/shop/key"), "sha256": digest, **OWN}


def test_a_file_is_asked_for_then_replaced(entry: dict[str, Any], tmp_path: Path) -> None:
    said = run_module("ship_files", files=[entry])
    assert (said["changed"], said["lacking"]) == (False, [entry["dest"]])
    said = run_module("ship_files", files=[entry | {"staged": str(tmp_path / "staged")}])
    assert (said["files"], said["lacking"]) == ([entry["dest"]], [])
    place = Path(entry["dest"])
    assert place.read_bytes() == SECRET
    assert place.stat().st_mode & 0o7777 == 0o640
    assert [path.name for path in place.parent.iterdir()] == ["key"]
    assert not run_module("ship_files", files=[entry])["changed"]


def test_neither_content_nor_digest_is_shown(entry: dict[str, Any], tmp_path: Path) -> None:
    said = run_module("ship_files", files=[entry | {"staged": str(tmp_path / "staged")}])
    assert "hunter2" not in str(said)
    assert entry["sha256"] not in str(said)
    (diff,) = said["diff"]
    assert "content: " in diff["after"]


def test_another_mode_needs_no_content(entry: dict[str, Any], tmp_path: Path) -> None:
    run_module("ship_files", files=[entry | {"staged": str(tmp_path / "staged")}])
    said = run_module("ship_files", files=[entry | {"mode": "0600"}])
    assert (said["files"], said["lacking"]) == ([entry["dest"]], [])
    assert Path(entry["dest"]).stat().st_mode & 0o7777 == 0o600
    assert (said["diff"][0]["before"], said["diff"][0]["after"]) == ("mode: 0640\n", "mode: 0600\n")


def test_a_dry_run_says_what_would_change(entry: dict[str, Any]) -> None:
    said = run_module("ship_files", files=[entry], check=True)
    assert said["files"] == [entry["dest"]]
    assert not Path(entry["dest"]).exists()


def test_a_file_is_removed(entry: dict[str, Any], tmp_path: Path) -> None:
    run_module("ship_files", files=[entry | {"staged": str(tmp_path / "staged")}])
    gone = [{"dest": entry["dest"], "state": "absent"}]
    assert run_module("ship_files", files=gone)["files"] == [entry["dest"]]
    assert not Path(entry["dest"]).exists()
    assert not run_module("ship_files", files=gone)["changed"]


def test_what_is_no_file_stays(entry: dict[str, Any]) -> None:
    Path(entry["dest"]).mkdir(parents=True)
    assert "is a directory, not a file" in run_module("ship_files", files=[entry])["msg"]


def test_an_unknown_owner_is_named(entry: dict[str, Any], tmp_path: Path) -> None:
    staged = {"staged": str(tmp_path / "staged"), "owner": "nobody-at-all"}
    assert "nobody-at-all" in run_module("ship_files", files=[entry | staged])["msg"]


def test_files_are_kept_and_put_back(entry: dict[str, Any], tmp_path: Path) -> None:
    """Also those of a run that was cut off, with what the run after it shipped; files that are new go."""
    place, keep = Path(entry["dest"]), str(tmp_path / "before/files")

    def ship(content: bytes, **changes: Any) -> None:
        (tmp_path / "staged").write_bytes(content)
        digest = {"sha256": hashlib.sha256(content).hexdigest(), "staged": str(tmp_path / "staged")}
        assert run_module("ship_files", files=[entry | digest | changes], keep=keep)["changed"]

    ship(b"it works")
    run_module("ship_files", keep=keep, restore=True)
    assert not place.exists(), "there was none before"
    assert not Path(keep).parent.exists()

    run_module(
        "ship_files",
        files=[entry | {"staged": str(tmp_path / "staged"), "sha256": hashlib.sha256(b"it works").hexdigest()}],
    )
    ship(b"cut off", mode="0600")
    ship(b"after it")
    run_module("ship_files", files=[{"dest": entry["dest"], "state": "absent"}], keep=keep)
    dry = run_module("ship_files", keep=keep, restore=True, check=True)
    assert (dry["changed"], place.exists()) == (True, False)
    assert run_module("ship_files", keep=keep, restore=True)["changed"]
    assert (place.read_bytes(), place.stat().st_mode & 0o7777) == (b"it works", 0o640)
    assert not run_module("ship_files", keep=keep, restore=True)["changed"]
