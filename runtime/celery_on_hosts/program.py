"""Run a program of the release, as an activated virtual environment would: ``python -m celery_on_hosts.program flask``.

The deployment runs the release commands so. The hosts' script ``celery-python`` has put the release's ``bin`` on PATH.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

PYTHON = re.compile(r"python(3(\.\d+)?)?")
NOT_FOUND, NOT_RUNNABLE = 127, 126  # as shells say it


class NoProgram(Exception):
    """A program that is not there, or cannot be run: its message and the exit code."""

    def __init__(self, message: str, code: int = NOT_FOUND) -> None:
        super().__init__(message)
        self.code = code


def resolve(arguments: Sequence[str]) -> list[str]:
    """Return the command to run in place of this process.

    Args:
        arguments: a program and its arguments. The program is python, a name on PATH, or a file of the application;
            arguments without a program are Python's.

    Raises:
        NoProgram: there is no such program.
    """
    if not arguments or arguments[0].startswith("-") or PYTHON.fullmatch(arguments[0]):
        return [sys.executable, *(arguments[1:] if arguments and PYTHON.fullmatch(arguments[0]) else arguments)]
    program, *rest = arguments
    found = None if "/" in program else shutil.which(program)
    if found:
        return [found, *rest]
    path = Path.cwd() / program
    if not path.is_file():
        where = f"no file in {Path.cwd()}" if "/" in program else f"neither on PATH nor a file in {Path.cwd()}"
        raise NoProgram(f"{program}: {where}")
    if path.suffix == ".py" or _names_python(path):
        return [sys.executable, str(path), *rest]  # the first line may name the host's own Python
    if not os.access(path, os.X_OK):
        raise NoProgram(f"{path} is not executable: chmod +x {program}, and commit that.", NOT_RUNNABLE)
    return [str(path), *rest]


def _names_python(path: Path) -> bool:
    with path.open("rb") as file:
        first = file.readline(200)
    return first.startswith(b"#!") and b"python" in first


def main() -> int:
    """Run the program; return only where that is not possible."""
    try:
        command = resolve(sys.argv[1:])
        os.execv(command[0], command)
    except NoProgram as error:
        print(error, file=sys.stderr)
        return error.code
    except OSError as error:
        print(f"{sys.argv[1]}: {error.strerror}", file=sys.stderr)
        return NOT_RUNNABLE


if __name__ == "__main__":
    sys.exit(main())
