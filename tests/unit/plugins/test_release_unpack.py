"""A release is unpacked completely or not at all, also by two deployments at once."""

from __future__ import annotations

import grp
import os
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
    """Return an archive of packages."""
    folder = tmp_path / "abc"
    folder.mkdir()
    for number in range(FILES):
        (folder / f"module{number}.py").write_text(f"VALUE = {number}\n" * 50)
    with tarfile.open(tmp_path / "deps-abc.tar.gz", "w:gz") as tar:
        tar.add(folder, "abc")
    return tmp_path / "deps-abc.tar.gz"


def test_a_second_deployment_waits_for_the_first(tmp_path: Path, archive: Path) -> None:
    """The job of an interrupted deployment continues in the background. The second uses its result."""
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
    """A host that loses power keeps a temporary folder."""
    parent = tmp_path / "root/deps"
    (parent / ".new-old/abc").mkdir(parents=True)
    release_unpack.unpack(str(archive), str(parent / "abc"))
    assert [path.name for path in parent.iterdir()] == ["abc"]


def test_a_broken_archive_leaves_nothing(tmp_path: Path, archive: Path) -> None:
    """The archive stays, for somebody to look at."""
    archive.write_bytes(archive.read_bytes()[:2000])
    with pytest.raises(subprocess.CalledProcessError):
        release_unpack.unpack(str(archive), str(tmp_path / "root/deps/abc"))
    assert not list((tmp_path / "root/deps").iterdir())
    assert archive.exists()


def test_files_are_closed_to_others(tmp_path: Path) -> None:
    """Also where an earlier version of the module unpacked them."""
    for name, inside in (("d", "module.py"), ("a", "app/tasks.py")):
        (tmp_path / name / inside).parent.mkdir(parents=True)
        (tmp_path / name / inside).write_text("")
        with tarfile.open(tmp_path / f"{name}.tar.gz", "w:gz") as tar:
            tar.add(tmp_path / name, name)
    root, group = tmp_path / "root", grp.getgrgid(os.getgid()).gr_name
    archives = {"deps_archive": str(tmp_path / "d.tar.gz"), "release_archive": str(tmp_path / "a.tar.gz")}
    releases = [{"root": str(root), "deps_id": "d", "release_id": "a", "group": group, **archives}]
    run_module("release_unpack", releases=releases, unpack=True)
    folders = (root / "deps/d", root / "releases/a/app")
    assert [folder.stat().st_mode & 0o777 for folder in folders] == [0o750, 0o750]
    assert (root / "releases/a").stat().st_mode & 0o777 == 0o755  # static files of the web side may lie beside app
    assert not run_module("release_unpack", releases=releases)["changed"]
    folders[0].chmod(0o755)
    assert run_module("release_unpack", releases=releases, check=True)["changed"]
    assert folders[0].stat().st_mode & 0o777 == 0o755
    assert run_module("release_unpack", releases=releases)["changed"]
    assert folders[0].stat().st_mode & 0o777 == 0o750


def test_what_is_marked_bad_is_refused_unless_it_is_to_be_tried_again(tmp_path: Path) -> None:
    places = {"deps_archive": str(tmp_path / "d"), "release_archive": str(tmp_path / "r")}
    releases = [{"root": str(tmp_path), "deps_id": "d", "release_id": "a", **places}]
    Releases(str(tmp_path)).mark_bad("a", "celery dies", configuration="wrong")
    assert run_module("release_unpack", releases=releases, configuration="right")["missing"], "it may work with others"
    said = run_module("release_unpack", releases=releases, configuration="wrong")
    assert said["failed"]
    assert "Release a is marked bad since 20" in said["msg"]
    assert ": celery dies" in said["msg"]
    assert "AGAIN=1" in said["msg"]
    assert run_module("release_unpack", releases=releases, configuration="wrong", again=True)["missing"]
    assert run_module("release_unpack", releases=[releases[0] | {"release_id": "b"}])["missing"]


def test_it_is_said_what_is_current_and_what_worked(tmp_path: Path) -> None:
    places = {"deps_archive": str(tmp_path / "d"), "release_archive": str(tmp_path / "r")}
    releases = [{"root": str(tmp_path), "deps_id": "d", "release_id": "a", **places}]
    assert run_module("release_unpack", releases=releases)["worked"] == {str(tmp_path): ""}
    Releases(str(tmp_path)).mark_worked("a")
    Releases(str(tmp_path)).switch("b")
    said = run_module("release_unpack", releases=releases)
    assert (said["current"], said["worked"]) == ({str(tmp_path): "b"}, {str(tmp_path): "a"})
    assert said["summary"] == {str(tmp_path): {}}
    Releases(str(tmp_path)).mark_checked("a", "configuration", {"weaknesses": []})
    assert run_module("release_unpack", releases=releases)["summary"] == {str(tmp_path): {"weaknesses": []}}
