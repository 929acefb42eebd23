"""What sources import, remembered from run to run."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from types import CodeType
from typing import Any

Import = tuple[int, str, tuple[str, ...]]


class KnownImports:
    """In place of compiling a source and looking at its code, in every run, to see what it imports.

    Each source has a file, named by a digest of it: a change makes another.

    Args:
        folder: where the files are. That it cannot be written to is no error: it is only slower.
        of_code: level, module and names of each import of a code object.
    """

    def __init__(self, folder: Path, of_code: Callable[[CodeType], Iterable[Import]]) -> None:
        self.folder = folder
        self.of_code = of_code

    def compile(self, source: bytes | str, *_: Any) -> bytes:
        """In place of Python's ``compile``: the source itself."""
        return source.encode() if isinstance(source, str) else source

    def of(self, source: bytes) -> list[Import]:
        """In place of ``of_code``, for a source.

        Raises:
            SyntaxError: It is no Python.
        """
        known = self.folder / hashlib.sha256(source).hexdigest()
        with contextlib.suppress(OSError, ValueError):
            return [(level, module, tuple(names)) for level, module, names in json.loads(known.read_bytes())]
        found = list(self.of_code(compile(source, "<source>", "exec", dont_inherit=True)))
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self.folder)
            with os.fdopen(handle, "w") as file:
                json.dump(found, file)
            Path(temporary).rename(known)
        return found
