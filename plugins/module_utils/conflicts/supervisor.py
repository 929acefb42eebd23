# SPDX-License-Identifier: MIT
"""Check a supervisord that the platform has not configured, and the names of its programs."""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.conflict import Conflict
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.host import Host, text_of
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.names import ORIGINALS
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.originals import Originals

CONFIGURATION = "/etc/supervisor/supervisord.conf"
OWN_PROGRAM = re.compile(r"; Managed by Ansible for (celery|flower)\.")
SECTION = re.compile(r"^\[(program|group|fcgi-program|eventlistener):([^\]\s]+)\]", re.MULTILINE)


def beside(host: Host, claimed: bool) -> bool:
    """Return whether the platform's programs are, or are going to be, programs of a supervisord of others.

    Args:
        host: the host.
        claimed: whether the platform has configured supervisord. Then it has kept what was at the places of its files.
    """
    if claimed:
        files = Originals(host.path(ORIGINALS), "supervisor.service").files
        return bool(files) and CONFIGURATION not in files
    programs = host.glob("/etc/supervisor/conf.d/*.conf")
    others = [path for path in programs if not OWN_PROGRAM.match(text_of(path))]
    return bool(others) or host.altered(host.path(CONFIGURATION))


def check_supervisor(host: Host, service: Mapping[str, Any]) -> Iterator[Conflict]:
    """Check a supervisord that the platform has not configured: whether it can run the platform's programs."""
    if not host.altered(host.path(CONFIGURATION)):
        return
    own = configparser.RawConfigParser(strict=False, inline_comment_prefixes=(";", " #"))
    try:
        own.read_string(text_of(host.path(CONFIGURATION)))
    except configparser.Error as error:
        yield _refused(f", which cannot be read: {str(error).splitlines()[0]}")
        return
    sockets = ("/run/supervisor.sock", "/var/run/supervisor.sock")
    if own.get("unix_http_server", "file", fallback="") not in sockets:
        yield _refused(", without a socket at /run/supervisor.sock")
    elif own.get("unix_http_server", "username", fallback=""):
        yield _refused(", whose socket wants a password")
    if "/etc/supervisor/conf.d/*.conf" not in own.get("include", "files", fallback="").split():
        yield _refused(", which does not include /etc/supervisor/conf.d/*.conf")


def _refused(why: str) -> Conflict:
    return Conflict(
        "supervisor",
        f"{CONFIGURATION}{why}",
        "the platform could not run its programs with it, and would not replace it, because it runs programs of others",
        "Change that, as in the file that the package supervisor brings, and restart supervisord.",
    )


def check_programs(host: Host, service: Mapping[str, Any]) -> Iterator[Conflict]:
    """Check that no other supervisord program, group or file has a name of the platform's programs."""
    names = set(service["programs"])
    for path in host.glob("/etc/supervisor/conf.d/*.conf"):
        text = text_of(path)
        if OWN_PROGRAM.match(text):
            continue
        if path.stem in names:
            yield Conflict(
                "supervisor",
                f"{host.name(path)}, which the platform did not write",
                f"the deployment would replace it by the file of its program {path.stem}",
                _rename("file", path.stem),
            )
        parts = SECTION.split(text)
        for kind, name, body in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
            members = re.search(r"^programs\s*[=:]\s*(.*)$", body, re.MULTILINE) if kind == "group" else None
            taken = {name, *(re.split(r"[\s,]+", members[1]) if members else ())} & names
            if taken:
                others = f", with {', '.join(sorted(taken))}" if taken != {name} else ""
                yield Conflict(
                    "supervisor",
                    f"[{kind}:{name}] in {host.name(path)}{others}",
                    "supervisord merges sections of one name, and takes a program into a group that names it: neither "
                    "the platform's program nor this one would run as it is meant",
                    _rename(kind, name),
                )


def _rename(kind: str, name: str) -> str:
    worker = name == "celery" or name.startswith("celery-")
    otherwise = ", or give the platform's worker another name in celery_workers" if worker else ""
    return f"Rename the {kind}, or remove it, and run: supervisorctl update{otherwise}."
