# SPDX-License-Identifier: MIT
"""Say at the end of a deployment what weakens the promise. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.module_utils.check_summary import read_summary
from ansible_collections.celery_on_hosts.platform.runtime.celery_on_hosts.weaknesses import NAMES, Weakness

# Warnings of preflight that celery_accept takes by the name of the variable.
VARIABLES: Mapping[str, str] = {
    "celery_redis_transport": "the stock transport, which loses the tasks of a worker that is killed",
    "redis_maxmemory_policy": "a policy by which Redis deletes results",
}
ACCEPTABLE: Mapping[str, str] = dict(sorted({**NAMES, **VARIABLES}.items()))


def weaknesses(
    recorded: Mapping[str, Any], checks: Mapping[str, str], preflight: Sequence[str], accepted: Sequence[str]
) -> str:
    """Return what weakens the promise, with what follows and what to do; empty where nothing does.

    Args:
        recorded: by host, the summary of the release's last check.
        checks: by host, what the check printed in this run; it replaces what is recorded.
        preflight: the warnings of preflight that are not accepted.
        accepted: ``celery_accept``.
    """
    known: dict[Weakness, None] = {}
    for host in sorted({*recorded, *checks}):
        ran = host in checks
        summary = read_summary(checks[host]) if ran else recorded[host]
        for entry in summary.get("weaknesses", []):
            found = Weakness(**entry) if entry["name"] in ("", *NAMES) else Weakness(**{**entry, "name": ""})
            if found.name not in accepted and (ran or not found.once):
                known[found] = None
    lasting = [_render(found) for found in known if not found.once] + list(preflight)
    count = "1 setting weakens" if len(lasting) == 1 else f"{len(lasting)} settings weaken"
    lines = _section(f"{count} the promise that no accepted task is lost:", lasting)
    lines += _section(
        "The release before had what this one has not:", [_render(found) for found in known if found.once]
    )
    return "\n".join(lines)


def _section(heading: str, texts: Sequence[str]) -> list[str]:
    return ["", heading, *(f"{number}. {text}" for number, text in enumerate(texts, 1))] if texts else []


def _render(found: Weakness) -> str:
    lines = [found.found]
    lines += [f"   then: {found.consequence}"] if found.consequence else []
    lines += [f"   do:   {found.remedy}"] if found.remedy else []
    lines += [f"   or:   celery_accept: [{found.name}] in the inventory, if it is meant"] if found.name else []
    return "\n".join(lines)
