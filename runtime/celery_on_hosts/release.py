"""Which release this process really runs.

``current`` may have been switched and an environment variable may be stale, but this file was loaded from one release:
``releases/<id>/runtime/celery_on_hosts/release.py``. The id is read once, when the process starts.
"""

from __future__ import annotations

from pathlib import Path


def release_of(path: Path) -> str | None:
    """Return the id of the release that a path belongs to.

    Args:
        path: a file or folder; links in it are followed.

    Returns:
        the part after ``releases/``, or None when the path is in no release (a developer's checkout).
    """
    parts = path.resolve().parts
    for index, part in enumerate(parts[:-1]):
        if part == "releases":
            return parts[index + 1]
    return None


RELEASE: str | None = release_of(Path(__file__))
