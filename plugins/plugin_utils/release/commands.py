# SPDX-License-Identifier: MIT
"""The programs of a release, as a virtual environment has them in bin/, and the release commands that name them."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.archive import Entry
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.request import ReleaseError

PYTHON = re.compile(r"python(3(\.\d+)?)?")
CELERY = "celery"  # the host's own command, which loads the platform's settings
ENTRY_POINT = re.compile(r"\s*([\w.]+)\s*:\s*([A-Za-z_][\w.]*)\s*(\[.*\])?\s*")


def read_scripts(folder: Path) -> dict[str, str | None]:
    """Return the programs of an installed bin/: a Python script's text without its first line, else None.

    Args:
        folder: the bin/ that uv wrote.
    """
    found: dict[str, str | None] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.is_file() and not path.name.startswith("."):
            head, _, rest = path.read_bytes().partition(b"\n")
            script = head.startswith(b"#!") and (b"python" in head or rest.startswith(b"'''exec'"))
            found[path.name] = rest.decode("utf-8", "surrogateescape") if script else None
    return found


def own_scripts(project: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the programs that the application's own pyproject.toml declares."""
    table = project.get("project") or project.get("tool", {}).get("poetry", {})
    found: dict[str, str | None] = {}
    for name, target in table.get("scripts", {}).items():
        point = ENTRY_POINT.fullmatch(str(target))
        if point and "/" not in name:
            module, attribute = point[1], point[2]
            found[name] = (
                f"import sys\nfrom {module} import {attribute.split('.')[0]}\n\n"
                f'if __name__ == "__main__":\n    sys.exit({attribute}())\n'
            )
    return found


def program_entries(scripts: Mapping[str, str | None], release: str, packages: str) -> Iterator[Entry]:
    """Yield the programs of a release's bin/.

    Args:
        scripts: by name, a Python script without its first line; None for another program of the packages.
        release: the release's folder on the hosts. Its scripts name its own Python, also while they are tried.
        packages: the folder of its packages, relative to the release's bin/.
    """
    for name, text in sorted(scripts.items()):
        if PYTHON.fullmatch(name) or name == CELERY:
            continue
        if text is None:
            yield Entry(f"bin/{name}", link=f"{packages}/bin/{name}")
        else:
            body = f"#!{release}/bin/python\n{text}".encode("utf-8", "surrogateescape")
            yield Entry(f"bin/{name}", body, executable=True)


def check_commands(commands: Sequence[str], programs: Collection[str], files: Collection[str], source: Path) -> None:
    """Refuse release commands whose program the release does not have.

    Args:
        commands: what celery_app_release_commands lists.
        programs: the names in the release's bin/.
        files: the application's files, relative to its folder.
        source: the application's folder, for messages.

    Raises:
        ReleaseError: there is no such program.
    """
    for command in commands:
        program = (shlex.split(command) or [""])[0]
        own = program.removeprefix("./")
        known = PYTHON.fullmatch(program) or program == CELERY or program in programs or own in files
        if known or program.startswith("/") or program.startswith("-"):
            continue
        if "/" in program:
            near = difflib.get_close_matches(own, [file for file in files if "/" in file or file.endswith(".py")], 1)
            raise ReleaseError(
                f"celery_app_release_commands has `{command}`, and {source} has no file {own}.",
                f"Did you mean ./{near[0]}?" if near else "Correct the path, which is relative to the folder.",
            )
        near = difflib.get_close_matches(program, programs, 1)
        raise ReleaseError(
            f"celery_app_release_commands has `{command}`, and the release has no program {program}: neither its "
            "packages nor the application bring it.",
            (f"Did you mean {near[0]}? Else add" if near else "Add")
            + f" the package that brings {program} to the application's lock. A program of the hosts is named by its "
            "path, such as /bin/sh.",
        )
