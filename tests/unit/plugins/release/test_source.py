"""Which files of the application's folder go into a release."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.build import build
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.request import ReleaseError, Request

from tests.unit.plugins.release.support import HERE, TASKS, commit, git, names, read


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


def test_a_folder_that_git_ignores_ships_as_if_there_were_no_git(request_: Request, tmp_path: Path) -> None:
    """As a build folder inside of a clone is; git does not say what is ignored in there, but fails."""
    clone = tmp_path / "clone"
    source = clone / "build/shop/app"
    shutil.copytree(request_.source, source)
    (source / "templates").mkdir()
    (source / "templates/page.html").write_text("page")
    subprocess.run(["git", "init", "-q", str(clone)], check=True)
    (clone / ".gitignore").write_text("build/\n")
    inside = names(build(replace(request_, source=source)).release_archive)
    assert [name for name in inside if name.endswith("app/templates/page.html")]


def app_files(request_: Request) -> set[str]:
    """Build, and return the application's files."""
    result = build(request_)
    top = f"{result.release_id}/app/"
    return {name.removeprefix(top) for name in names(result.release_archive) if name.startswith(top)}


def test_links(request_: Request) -> None:
    source = request_.source
    (source / "alias.py").symlink_to("tasks.py")
    (source / "again.py").symlink_to(source / "tasks.py")
    (source / "gone.py").symlink_to("nothing.py")
    result = build(request_)
    with tarfile.open(result.release_archive) as tar:
        assert tar.getmember(f"{result.release_id}/app/again.py").linkname == "tasks.py"
    assert [text for text in result.warnings if "gone.py is a link to nothing.py, which is not in the release" in text]
    assert not [text for text in result.warnings if "again.py" in text or "alias.py" in text]
    (source / "outside").symlink_to("../runtime")
    with pytest.raises(ReleaseError, match=r"outside is a link to \.\./runtime"):
        build(request_)


def test_submodules_ship(request_: Request, tmp_path: Path) -> None:
    library, source = tmp_path / "library", request_.source
    (library / "inner").mkdir(parents=True)
    (library / "inner" / "shared.py").write_text("x = 1\n")
    commit(library)
    git(source, "init", "-q")
    git(source, "submodule", "add", "-q", str(library), "libs/shared")
    (source / "libs/shared/new.py").write_text("")
    inside = app_files(request_)
    assert {"libs/shared/inner/shared.py", "libs/shared/new.py", "tasks.py"} <= inside
    git(source, "submodule", "deinit", "-q", "--force", "libs/shared")
    with pytest.raises(ReleaseError, match="libs/shared is a git submodule that is not checked out") as caught:
        build(request_)
    assert "git submodule update --init --recursive" in caught.value.advice


def test_git_that_refuses_stops_the_build(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(request_.source)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(ReleaseError, match=r"dubious ownership") as caught:
        build(request_)
    assert f"git config --global --add safe.directory {request_.source}" in caught.value.advice


def test_a_missing_git_or_a_broken_work_tree_stops_the_build(
    request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    (request_.source / ".git").mkdir()
    with pytest.raises(ReleaseError, match="not a git repository") as caught:
        build(request_)
    assert f"remove {request_.source / '.git'} if it is none" in caught.value.advice
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ReleaseError, match="git cannot be run"):
        build(request_)


def test_a_hook_of_another_repository_is_not_asked(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(request_.source)
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    assert "tasks.py" in app_files(request_)


@pytest.mark.parametrize("in_git", [True, False])
def test_what_is_left_out_is_said_and_can_be_included(request_: Request, in_git: bool) -> None:
    source = request_.source
    if in_git:
        git(source, "init", "-q")
        (source / ".gitignore").write_text("dist/\n.env\n__pycache__/\n")
    for name in ("dist/a/site.js", "dist/.git/config", ".env", "__pycache__/tasks.pyc", "node_modules/x.js"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text("x")
    result = build(request_)
    assert [name for name in result.left_out if name != "node_modules/"] == ([".env", "dist/"] if in_git else [".env"])
    chosen = replace(request_, include=("dist/", ".env"))
    again = build(chosen)
    assert again.left_out == []
    assert again.release_id != result.release_id
    inside = app_files(chosen)
    assert {"dist/a/site.js", ".env"} <= inside
    assert not [name for name in inside if ".git/" in name or "__pycache__" in name]
    assert app_files(replace(request_, include=("dist/*/*.js",))) >= {"dist/a/site.js"}


def test_an_include_that_fits_nothing_is_refused(request_: Request) -> None:
    with pytest.raises(ReleaseError, match=r"celery_app_include names dist/, and .*/app has no such file or folder"):
        build(replace(request_, include=("dist/",)))


def test_names_that_are_not_utf8_are_refused_by_name(request_: Request) -> None:
    folder = os.fsencode(request_.source / "media")
    os.mkdir(folder)
    Path(os.fsdecode(folder + b"/caf\xe9.txt")).write_text("x")
    with pytest.raises(ReleaseError, match=r"The name of media/caf\\xe9\.txt in .* is not UTF-8"):
        build(request_)


def test_pipes_and_pointers_are_named(request_: Request) -> None:
    os.mkfifo(request_.source / "pipe")
    (request_.source / "model.bin").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    warnings = "\n".join(build(request_).warnings)
    assert f"{request_.source / 'pipe'} is neither a file nor a folder nor a link" in warnings
    assert f"{request_.source / 'model.bin'} is a pointer of git-lfs" in warnings
