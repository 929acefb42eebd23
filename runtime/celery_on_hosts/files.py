"""Files that one process writes while others read them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write_atomically(path: Path, text: str) -> None:
    """Replace a file in one step, so that a reader finds the old text or the new one, and never a part.

    Args:
        path: the file; its folder exists.
        text: the whole new content.

    Raises:
        OSError: the file cannot be written; the old one is still there.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object; return an empty one where the file is missing or holds something else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
