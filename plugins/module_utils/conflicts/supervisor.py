# SPDX-License-Identifier: MIT
"""Check a supervisord that the platform has not configured, and the names of its programs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.conflict import Conflict
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.host import Host, text_of
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.packages import check_file

OWN_PROGRAM = re.compile(r"; Managed by Ansible for (celery|flower)\.")
SECTION = re.compile(r"^\[(program|group|fcgi-program|eventlistener):([^\]\s]+)\]", re.MULTILINE)


def check_supervisor(host: Host, service: Mapping[str, Any]) -> Iterator[Conflict]:
    """Check a supervisord that the platform has not configured."""
    yield from check_file(host, "supervisor", host.path("/etc/supervisor/supervisord.conf"), "supervisor")


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
