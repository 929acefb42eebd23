# SPDX-License-Identifier: MIT
"""Check the files and the account of the application, or of Flower."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.conflict import Conflict
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.host import Host
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.names import FLOWER_ROOT, LOGS


def check_application(host: Host, service: Mapping[str, Any]) -> Iterator[Conflict]:
    """Check the files and the account of the application, or of Flower, before the first release is unpacked."""
    name = service["name"]
    home = service["home"]
    found = host.accounts.get(name)
    if found and found[1].rstrip("/") != home.rstrip("/"):
        yield Conflict(
            name,
            f"the account {name} with home {found[1] or 'nowhere'}",
            f"the platform's programs run as an account of this name with home {home}",
            f"Rename the account (usermod --login NEW {name}) or remove it.",
        )
    for text in service["files"]:
        path = host.path(text)
        if text in host.kept or (text == LOGS and unpacked(host, FLOWER_ROOT)):  # Flower logs there, too
            continue
        if path.is_symlink() or path.is_file() or (path.is_dir() and any(path.iterdir())):
            kind = "a folder that holds something" if path.is_dir() else "a file"
            yield Conflict(
                name,
                f"{text}, {kind} that the platform did not write",
                "the deployment would replace it" if not path.is_dir() else "the deployment would write into it",
                "Move it away, or uninstall what it belongs to.",
            )


def unpacked(host: Host, root: str) -> bool:
    """Return whether the platform has unpacked a release below a root, or has begun to."""
    deps = host.path(root) / "deps"
    return deps.is_dir() and all(re.fullmatch(r"[0-9a-f]{12}|\.new-.*", path.name) for path in deps.iterdir())
