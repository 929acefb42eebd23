"""Remember what sources import, from run to run."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from types import CodeType
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.module_utils import atomic

Import = tuple[int, str, tuple[str, ...]]


class KnownImports:
    """Find what a source imports without compiling the source in every run.

    The imports of each source are kept in a file that is named by the source's digest.

    Args:
        folder: where the files are. When the folder cannot be written to, every run compiles.
        of_code: returns level, module and names of each import of a code object.
    """

    def __init__(self, folder: Path, of_code: Callable[[CodeType], Iterable[Import]]) -> None:
        self.folder = folder
        self.of_code = of_code

    def compile(self, source: bytes | str, *_: Any) -> bytes:
        """Return the source itself, for callers that pass the result to `of` and would compile it."""
        return source.encode() if isinstance(source, str) else source

    def of(self, source: bytes) -> list[Import]:
        """Return the imports of a source.

        Raises:
            SyntaxError: the source is not valid Python.
        """
        known = self.folder / hashlib.sha256(source).hexdigest()
        with contextlib.suppress(OSError, ValueError):
            return [(level, module, tuple(names)) for level, module, names in json.loads(known.read_bytes())]
        found = list(self.of_code(compile(source, "<source>", "exec", dont_inherit=True)))
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            atomic.write(known, json.dumps(found))
        return found
