# SPDX-License-Identifier: MIT
"""What to build, and what was built."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.celery_on_hosts.platform.plugins.module_utils.names import CELERY_ROOT

PLATFORMS = {"x86_64": "x86_64-manylinux_2_36", "aarch64": "aarch64-manylinux_2_36"}  # glibc of Debian 12


class ReleaseError(Exception):
    """A release that cannot be built.

    Args:
        message: what is wrong, with the file or variable.
        advice: what to do about it.
    """

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice


@dataclass(frozen=True)
class Request:
    """What to build. Paths are on the controller, except `install_root`, which is on the hosts.

    `source` is the application's folder, or for kind 'packages' a lock file in the format of requirements.txt. `lock`
    is the application's lock, relative to its folder, `extras` are names of its extras and dependency groups, `include`
    is what ships although git ignores it, and `commands` are the release commands.
    """

    source: Path
    output: Path
    kind: str = "app"
    app: str = ""
    lock: str = ""
    extras: Sequence[str] = ()
    include: Sequence[str] = ()
    commands: Sequence[str] = ()
    python_version: str = "3.13"
    platform: str = "x86_64"
    runtime: Path | None = None
    install_root: str = CELERY_ROOT
    uv: str = "uv"
    keep: int = 8

    @property
    def has_app(self) -> bool:
        """Return whether the release holds an application, beside packages."""
        return self.kind == "app"

    @property
    def root(self) -> str:
        """Return the hosts' folder of releases, without a slash at the end."""
        return self.install_root.rstrip("/")

    @property
    def site(self) -> str:
        """Return the folder of packages inside a virtual environment."""
        return f"lib/python{self.python_version}/site-packages"

    def validate(self) -> None:
        """Check the arguments that need no file to be read.

        Raises:
            ReleaseError: an argument has a value that is not allowed, or names a path that does not exist.
        """
        if not re.fullmatch(r"3\.\d+", self.python_version):
            raise ReleaseError(f"python_version is {self.python_version!r}.", "Allowed: major and minor, such as 3.13.")
        if self.platform not in PLATFORMS:
            raise ReleaseError(f"platform is {self.platform!r}.", f"Allowed: {', '.join(PLATFORMS)}.")
        if self.has_app:
            self._validate_app()
        elif not self.source.is_file():
            raise ReleaseError(f"The lock file {self.source} does not exist.", "Correct the path.")

    def _validate_app(self) -> None:
        if not self.source.is_dir():
            raise ReleaseError(
                f"celery_app_source is {self.source}: no such folder.", "Set it to the folder of your application."
            )
        if self.runtime is None or not (self.runtime / "celery_on_hosts").is_dir():
            raise ReleaseError(f"No celery_on_hosts package in {self.runtime}.", "Check that the checkout is complete.")
        if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(:[A-Za-z_][\w.]*)?", self.app):
            raise ReleaseError(
                f"celery_app is {self.app!r}.",
                "Allowed: what `celery -A` takes, such as proj, proj.celery or proj:app.",
            )


@dataclass
class Result:
    """What was built, or found in the cache (`changed` is False then), and what of the folder is not in it."""

    release_id: str
    deps_id: str
    release_archive: Path
    deps_archive: Path
    changed: bool = False
    left_out: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
