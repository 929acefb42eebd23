"""Releases are unpacked whole or not at all, also by two deployments at once."""

from __future__ import annotations

import subprocess
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.host_releases import Releases
from ansible_collections.celery_on_hosts.platform.plugins.modules import release_unpack

from tests.unit.modules import run_module

FILES = 300


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive of some packages."""
    folder = tmp_path / "abc"
    folder.mkdir()
    for number in range(FILES):
        (folder / f"module{number}.py").write_text(f"VALUE = {number}\n" * 50)
    with tarfile.open(tmp_path / "deps-abc.tar.gz", "w:gz") as tar:
        tar.add(folder, "abc")
    return tmp_path / "deps-abc.tar.gz"


def test_a_second_deployment_waits_for_the_first(tmp_path: Path, archive: Path) -> None:
    """One that was cut off goes on in the background; what it has done is whole, and is not done again."""
    place = tmp_path / "root/deps/abc"
    copies = [tmp_path / f"{number}.tar.gz" for number in range(4)]
    for copy in copies:
        copy.write_bytes(archive.read_bytes())
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda copy: release_unpack.unpack(str(copy), str(place)), copies))
    assert len(list(place.glob("*.py"))) == len(list(place.glob("__pycache__/*.pyc"))) == FILES
    assert [path.name for path in place.parent.iterdir()] == ["abc"]
    assert not any(copy.exists() for copy in copies)


def test_what_was_left_half_done_is_removed(tmp_path: Path, archive: Path) -> None:
    """A host that lost power leaves a folder beside."""
    parent = tmp_path / "root/deps"
    (parent / ".new-old/abc").mkdir(parents=True)
    release_unpack.unpack(str(archive), str(parent / "abc"))
    assert [path.name for path in parent.iterdir()] == ["abc"]


def test_a_broken_archive_leaves_nothing(tmp_path: Path, archive: Path) -> None:
    """And is there to be looked at."""
    archive.write_bytes(archive.read_bytes()[:2000])
    with pytest.raises(subprocess.CalledProcessError):
        release_unpack.unpack(str(archive), str(tmp_path / "root/deps/abc"))
    assert not list((tmp_path / "root/deps").iterdir())
    assert archive.exists()


def test_what_is_marked_bad_is_refused_unless_it_is_to_be_tried_again(tmp_path: Path) -> None:
    places = {"deps_archive": str(tmp_path / "d"), "release_archive": str(tmp_path / "r")}
    releases = [{"root": str(tmp_path), "deps_id": "d", "release_id": "a", **places}]
    Releases(str(tmp_path)).mark_bad("a", "celery dies")
    said = run_module("release_unpack", releases=releases)
    assert said["failed"]
    assert "Release a is marked bad since 20" in said["msg"]
    assert ": celery dies" in said["msg"]
    assert "AGAIN=1" in said["msg"]
    assert run_module("release_unpack", releases=releases, again=True)["missing"]
    assert run_module("release_unpack", releases=[releases[0] | {"release_id": "b"}])["missing"]


def test_it_is_said_what_is_current_and_what_worked(tmp_path: Path) -> None:
    places = {"deps_archive": str(tmp_path / "d"), "release_archive": str(tmp_path / "r")}
    releases = [{"root": str(tmp_path), "deps_id": "d", "release_id": "a", **places}]
    assert run_module("release_unpack", releases=releases)["worked"] == {str(tmp_path): ""}
    Releases(str(tmp_path)).mark_worked("a")
    Releases(str(tmp_path)).switch("b")
    said = run_module("release_unpack", releases=releases)
    assert (said["current"], said["worked"]) == ({str(tmp_path): "b"}, {str(tmp_path): "a"})
