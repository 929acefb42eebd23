# SPDX-License-Identifier: MIT
"""Check an nginx that the platform has not configured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.conflict import Conflict
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.host import Host
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.packages import check_file


def check_nginx(host: Host, service: Mapping[str, Any]) -> Iterator[Conflict]:
    """Check an nginx that the platform has not configured."""
    site = host.path("/etc/nginx/sites-enabled/default")
    takes = "the platform's site answers every request that no other site names, and the deployment removes the default"
    yield from check_file(host, "nginx", host.path("/etc/nginx/nginx.conf"), "nginx-common")
    ours = host.path("/etc/nginx/conf.d/celery.conf")
    enabled = [*host.glob("/etc/nginx/sites-enabled/*"), *host.glob("/etc/nginx/conf.d/*.conf")]
    for path in enabled:
        if path == site and path.is_symlink() and path.readlink().name == "default":
            target = host.path("/etc/nginx/sites-available/default")
            if not target.exists() or not host.altered(target):
                continue
        where = f" (a link to {path.readlink()})" if path.is_symlink() else ""
        yield Conflict(
            "nginx",
            f"the site {host.name(path)}{where}",
            "the deployment would replace it" if path == ours else takes,
            "Keep a copy of it and remove it here.",
        )
