"""The application is checked before it is packed."""

from __future__ import annotations

import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.application import (
    check_python,
    code_roots,
)
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.archive import Entry
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.build import build
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.request import ReleaseError, Request


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
    ("wanted", "version", "fits"),
    [
        (">=3.12", "3.11", False),
        (">=3.11,<3.14", "3.13", True),
        ("<3.13", "3.13", False),
        ("~=3.11", "3.13", True),
        ("==3.11.*", "3.13", False),
        (">=3.11.5", "3.11", True),  # the hosts' patch release is not known
        ("!=3.13.*", "3.13", False),
        ("^3.12", "3.11", True),  # what is no specifier is not judged
        ("", "3.13", True),
    ],
)
def test_requires_python(wanted: str, version: str, fits: bool) -> None:
    project = {"project": {"requires-python": wanted}}
    if fits:
        check_python(project, Path("app"), version)
    else:
        with pytest.raises(ReleaseError, match="requires Python"):
            check_python(project, Path("app"), version)


@pytest.mark.parametrize(
    ("files", "project", "app", "expected"),
    [
        (("src/shop/__init__.py",), "", "shop", ["app", "app/src"]),
        (("src/__init__.py", "src/shop/__init__.py"), "", "shop", ["app", "app/src"]),
        (("src/__init__.py", "src/shop/__init__.py"), "", "src.shop", ["app"]),
        (("src/__init__.py", "src/shop/__init__.py", "shop.py"), "", "shop", ["app"]),
        (("lib/shop.py",), "[tool.setuptools.packages.find]\nwhere=['lib']\n", "shop", ["app", "app/lib"]),
        (("lib/shop.py",), "[tool.poetry]\npackages=[{include='shop', from='lib'}]\n", "shop", ["app", "app/lib"]),
        (("lib/shop.py",), "", "lib.shop", ["app"]),
    ],
)
def test_folders_of_code(files: tuple[str, ...], project: str, app: str, expected: list[str]) -> None:
    entries = [Entry(f"app/{name}") for name in files]
    assert code_roots(entries, app, tomllib.loads(project)) == expected


def test_a_module_below_another_folder_is_found(request_: Request) -> None:
    (request_.source / "backend/shop").mkdir(parents=True)
    (request_.source / "backend/shop/celery.py").write_text("")
    with pytest.raises(ReleaseError, match=r"the module shop is in .*/app/backend") as caught:
        build(replace(request_, app="shop"))
    assert f"Set celery_app_source to {request_.source}/backend" in caught.value.advice
    assert "../requirements.txt" in caught.value.advice
