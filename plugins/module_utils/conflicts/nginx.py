# SPDX-License-Identifier: MIT
"""Check an nginx that the platform has not configured, and whether the platform's site is beside those of others."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.conflict import Conflict
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.host import Host, settings_of, text_of

OURS = "/etc/nginx/conf.d/celery.conf"
DEFAULT = "/etc/nginx/sites-enabled/default"
ANY = ("*", "0.0.0.0", "[::]", "")  # noqa: S104  # compared with, not listened at


@dataclass(frozen=True)
class Sites:
    """What a file of nginx's configuration serves.

    Args:
        path: the file.
        listen: its addresses and ports.
        names: its server names.
    """

    path: Path
    listen: frozenset[tuple[str, int]]
    names: frozenset[str]

    @classmethod
    def of(cls, host: Host, path: Path) -> Sites:
        """Read a file."""
        text = "\n".join(settings_of(_target(host, path)))
        listen = re.findall(r"(?:^|[;{\s])listen\s+([^;]+);", text)
        names = re.findall(r"(?:^|[;{\s])server_name\s+([^;]+);", text)
        found = [_place(words.split()[0]) for words in listen] or ([("", 80)] if "server" in text else [])
        return cls(path, frozenset(found), frozenset(name for words in names for name in words.split()))

    def at(self, port: int) -> set[str]:
        """Return the addresses at which it listens at a port."""
        return {address for address, number in self.listen if number == port}


def _target(host: Host, path: Path) -> Path:
    """Return the file that a path of the host leads to."""
    return host.path(str(path.readlink())) if path.is_symlink() and path.readlink().is_absolute() else path


def _place(word: str) -> tuple[str, int]:
    """Return the address and the port of a `listen`; port 0 for a Unix socket."""
    if word.startswith("unix:"):
        return word, 0
    address, _, port = word.rpartition(":") if not word.endswith("]") else (word, "", "80")
    if not address and not port.isdigit():  # an address alone
        return word, 80
    return address, int(port) if port.isdigit() else 80


def sites_of_others(host: Host) -> list[Path]:
    """Return the files of sites that neither the package nor the platform brought."""
    enabled = [*host.glob("/etc/nginx/sites-enabled/*"), *host.glob("/etc/nginx/conf.d/*.conf")]
    return [path for path in enabled if host.name(path) != OURS and not _is_the_packages(host, path)]


def _is_the_packages(host: Host, path: Path) -> bool:
    target = host.path("/etc/nginx/sites-available/default")
    linked = host.name(path) == DEFAULT and path.is_symlink() and path.readlink().name == "default"
    return linked and (not target.exists() or not host.altered(target))


def beside(host: Host, claimed: bool) -> bool:
    """Return whether the platform's site is, or is going to be, one among others' sites, and not the default one.

    Args:
        host: the host.
        claimed: whether the platform has configured nginx. What it decided then is in its file.
    """
    ours = text_of(host.path(OURS))
    if claimed and ours:
        return not re.search(r"listen [^;]*default_server", ours)
    return bool(sites_of_others(host))


def check_nginx(host: Host, service: Mapping[str, Any]) -> Iterator[Conflict]:
    """Check an nginx that the platform has not configured."""
    own = host.path("/etc/nginx/nginx.conf")
    if host.altered(own) and not any("include /etc/nginx/conf.d/*.conf;" in line for line in settings_of(own)):
        yield Conflict(
            "nginx",
            "/etc/nginx/nginx.conf, which does not include /etc/nginx/conf.d/*.conf",
            "nginx would not read the platform's site",
            "Add the line to its block http: include /etc/nginx/conf.d/*.conf;",
        )
    if host.path(OURS).exists():
        yield Conflict(
            "nginx", f"the site {OURS}", "the deployment would replace it", "Keep a copy of it and remove it here."
        )
    if not beside(host, claimed=False):
        return
    port = service["listen"][0]["port"] if service["listen"] else 80
    names = set(service.get("names") or [])
    default = [path for path in [host.path(DEFAULT)] if _target(host, path).is_file() and _is_the_packages(host, path)]
    for path in [*sites_of_others(host), *default]:
        yield from _check_site(host, Sites.of(host, path), port, names)


def _check_site(host: Host, sites: Sites, port: int, names: set[str]) -> Iterator[Conflict]:
    """Check a file of sites that stay beside the platform's one."""
    addresses = sites.at(port)
    where = f" (a link to {sites.path.readlink()})" if sites.path.is_symlink() else ""
    found = f"the site {host.name(sites.path)}{where}, at port {port}"
    other = "Set celery_web_port to a port of its own"
    if not addresses:
        return
    if taken := names & sites.names:
        yield Conflict(
            "nginx",
            f"{found}, with the name {', '.join(sorted(taken))}",
            "nginx answers for one of two sites of one name",
            f"{other}, or leave the name out of celery_web_names and celery_web_host.",
        )
    elif not names:
        yield Conflict(
            "nginx",
            found,
            "the site stays, and nginx tells the platform's site from it by its name",
            f"Name the platform's site in celery_web_names. {other}, or remove the other site.",
        )
    if special := addresses - set(ANY):
        yield Conflict(
            "nginx",
            f"{found}, for the address {', '.join(sorted(special))} alone",
            "nginx would not ask the platform's site at this address",
            f"{other}, or let the other site listen at all addresses: listen {port};",
        )
