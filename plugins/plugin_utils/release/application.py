# SPDX-License-Identifier: MIT
"""Check an application before it is packed, and write the metadata by which Python knows it."""

from __future__ import annotations

import ast
import configparser
import difflib
import re
import sys
import tomllib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.archive import Entry
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.request import ReleaseError
from packaging.specifiers import InvalidSpecifier, SpecifierSet

NOT_CODE = {"tests", "test", "testdata", "fixtures", "templates"}  # where files named .py may be anything
PATCH_RELEASES = range(100)  # of one minor version of Python


def read_project(source: Path) -> dict[str, Any]:
    """Return pyproject.toml as a mapping, empty where there is none.

    Raises:
        ReleaseError: the file is not TOML.
    """
    path = source / "pyproject.toml"
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ReleaseError(f"{path} is not TOML: {error}.", "Correct it.") from error


def check_python(project: Mapping[str, Any], source: Path, version: str) -> None:
    """Refuse an application that says it does not run on the hosts' Python.

    Args:
        project: its pyproject.toml.
        source: its folder, for the message.
        version: the hosts' Python, major and minor. Their patch release is not known.

    Raises:
        ReleaseError: requires-python leaves out every patch release of `version`.
    """
    wanted = str(project.get("project", {}).get("requires-python", ""))
    try:
        allowed = SpecifierSet(wanted)
    except InvalidSpecifier:
        return  # the tools that install projects judge it
    if not any(f"{version}.{patch}" in allowed for patch in PATCH_RELEASES):
        raise ReleaseError(
            f"{source}/pyproject.toml requires Python {wanted}; the hosts have {version}.",
            "Deploy to a Debian release that has it (12: Python 3.11, 13: Python 3.13), or widen requires-python.",
        )


def metadata(project: Mapping[str, Any], release_id: str) -> list[Entry]:
    """Return a .dist-info for the application, so that importlib.metadata knows it and its entry points."""
    table: Mapping[str, Any] = project.get("project") or project.get("tool", {}).get("poetry", {})
    name = table.get("name")
    if not isinstance(name, str) or not name:
        return []
    version = str(table.get("version") or f"0+{release_id}")
    folder = f"{re.sub(r'[-_.]+', '_', name)}-{version.replace('-', '_')}.dist-info"
    entries = [
        Entry(f"{folder}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()),
        Entry(f"{folder}/INSTALLER", b"celery_on_hosts\n"),
    ]
    text = _entry_points(table)
    return [*entries, Entry(f"{folder}/entry_points.txt", text.encode())] if text else entries


def _entry_points(table: Mapping[str, Any]) -> str:
    """Return a project's scripts and entry points as entry_points.txt, empty where it has none."""
    groups = {"console_scripts": table.get("scripts", {}), "gui_scripts": table.get("gui-scripts", {})}
    groups |= table.get("entry-points", {})
    found = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    found.optionxform = str  # type: ignore[assignment,method-assign]
    for group, points in sorted(groups.items()):
        if points:
            found[group] = {key: str(value) for key, value in sorted(points.items())}
    return "\n".join(
        f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in found[group].items())
        for group in found.sections()
    )


def code_roots(entries: Iterable[Entry], app: str, project: Mapping[str, Any]) -> list[str]:
    """Return the folders of an application that belong on the path: its own, and those that hold its code.

    Args:
        entries: the files, below the folder app.
        app: what `celery -A` takes.
        project: its pyproject.toml.
    """
    entries = list(entries)
    paths = {entry.path for entry in entries}
    folders = [f"app/{name}" for name in dict.fromkeys(["src", *_declared_roots(project)]) if name not in ("", ".")]
    roots, name = ["app"], module_name(app)
    for folder in folders:
        own = modules(entries, [folder])
        # A folder with an __init__.py is a package itself, unless the application is found in no other way.
        package = f"{folder}/__init__.py" in paths and (name not in own or name in modules(entries, ["app"]))
        if own and not package:
            roots.append(folder)
    return roots


def _declared_roots(project: Mapping[str, Any]) -> list[str]:
    """Return the folders of code that a pyproject.toml names for its build backend."""
    tool = project.get("tool", {})
    setuptools, packages = tool.get("setuptools", {}), tool.get("setuptools", {}).get("packages", {})
    found = [setuptools.get("package-dir", {}).get("", "")]
    found += packages.get("find", {}).get("where", []) if isinstance(packages, Mapping) else []
    found += [one.get("from", "") for one in tool.get("poetry", {}).get("packages", [])]
    wheel = tool.get("hatch", {}).get("build", {}).get("targets", {}).get("wheel", {})
    found += [str(PurePosixPath(name).parent) for name in wheel.get("packages", [])]
    found += [tool.get("uv", {}).get("build-backend", {}).get("module-root", "")]
    found += [tool.get("pdm", {}).get("build", {}).get("package-dir", "")]
    return [str(PurePosixPath(name)) for name in found if isinstance(name, str)]


def module_name(app: str) -> str:
    """Return the top-level module of what `celery -A` takes."""
    return app.split(":")[0].split(".")[0]


def modules(entries: Iterable[Entry], roots: Sequence[str]) -> set[str]:
    """Return the names of the top-level modules and packages below `roots`."""
    names = set()
    for entry in entries:
        for root in roots:
            if entry.path.startswith(f"{root}/") and entry.path.endswith((".py", ".so")):
                names.add(entry.path[len(root) + 1 :].split("/")[0].split(".")[0])
    return names


def check_module(app: str, own: set[str], packages: Sequence[str], source: Path, entries: Iterable[Entry] = ()) -> None:
    """Refuse an application whose module neither its folder nor its packages have.

    Args:
        app: what `celery -A` takes.
        own: the modules of the application's folder.
        packages: the modules of its packages.
        source: the folder, for the message.
        entries: its files, below the folder app.

    Raises:
        ReleaseError: there is no such module.
    """
    name = module_name(app)
    if name in own or name in packages:
        return
    below = re.compile(rf"app/(.+)/{name}(\.py|/[^/]+\.py)")
    place = next((found[1] for entry in entries if (found := below.fullmatch(entry.path))), None)
    if place:
        up = "/".join([".."] * (place.count("/") + 1))
        raise ReleaseError(
            f"celery_app is {app}, and the module {name} is in {source / place}.",
            f"Set celery_app_source to {source / place}. Where the lock is elsewhere, set celery_app_lock to its path, "
            f"such as {up}/requirements.txt.",
        )
    near = difflib.get_close_matches(name, sorted(own), 1)
    raise ReleaseError(
        f"celery_app is {app}, and {source} has no module {name} (it has: {', '.join(sorted(own)) or 'none'}).",
        f"Did you mean {near[0]}?" if near else "Set celery_app to what you give `celery -A`.",
    )


def check_syntax(entries: Iterable[Entry], version: str, source: Path) -> list[str]:
    """Compile the application's files for the hosts' Python.

    Args:
        entries: the files, below the folder app.
        version: the hosts' Python, major and minor.
        source: the application's folder, for messages.

    Returns:
        Warnings: files that do not compile here, and that only the hosts' newer Python can judge.

    Raises:
        ReleaseError: files that do not compile, each with its line.
    """
    target = (3, int(version.split(".")[1]))
    found: list[str] = []
    for entry in entries:
        parts = PurePosixPath(entry.path).parts[1:]
        if entry.path.endswith(".py") and entry.link is None and not NOT_CODE & set(parts):
            found += _compile(entry.data, str(source / PurePosixPath(*parts)), target)
    if found and sys.version_info[:2] >= target:
        shown = "\n  ".join(found[:10])
        raise ReleaseError(f"{len(found)} file(s) do not compile for Python {version}:\n  {shown}", "Correct them.")
    older = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return [f"{item} (judged by Python {older}; the hosts have {version} and check again)" for item in found]


def _compile(source: bytes, name: str, target: tuple[int, int]) -> list[str]:
    """Return why a file does not compile, with its name and line; nothing where it does."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if sys.version_info[:2] == target:
                compile(source, name, "exec", dont_inherit=True)
            else:
                ast.parse(source, name, feature_version=target)
    except (SyntaxError, ValueError) as error:
        return [f"{name}:{getattr(error, 'lineno', None) or 1}: {getattr(error, 'msg', None) or error}"]
    return []
