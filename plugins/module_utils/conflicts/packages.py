# SPDX-License-Identifier: MIT
"""Check a file that the deployment replaces and that a package brings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.conflict import Conflict
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.host import Host


def check_file(host: Host, service: str, path: Path, package: str) -> Iterator[Conflict]:
    """Check a file that the deployment replaces and that a package brings."""
    if host.altered(path):
        known = host.name(path) in host.conffiles
        yield Conflict(
            service,
            f"{host.name(path)}, {f'changed since the package {package} brought it' if known else 'from no package'}",
            "the deployment would replace it",
            f"Move it away, then bring the package's own back: apt-get install --reinstall "
            f"-o Dpkg::Options::=--force-confmiss {package}",
        )
