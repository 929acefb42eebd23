# SPDX-License-Identifier: MIT
"""Show what a removal takes off hosts. Standard library only."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH = 110


def removal_plan(found: Mapping[str, Mapping[str, Any]], removes: bool, data: bool) -> str:
    """Return what goes and what stays, host by host.

    Args:
        found: what the module ``removal`` returned for each host.
        removes: whether this run removes it.
        data: whether the data goes, too.
    """
    parts = [_host(name, one) for name, one in found.items()]
    if not any(one["goes"] for one in found.values()):
        parts.append("There is nothing to remove.")
    elif not removes:
        parts.append(f"Nothing was changed. To remove this, add YES=1: make remove{' DATA=1' if data else ''} YES=1")
    return "\n\n".join(parts)


def removal_notes(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return what is to be known after a removal, host by host; empty where there is nothing."""
    return "\n\n".join(f"{name}\n{_list(one['notes'])}" for name, one in found.items() if one.get("notes"))


def _host(name: str, found: Mapping[str, Any]) -> str:
    goes, stays = found["goes"], found["stays"]
    lines = [name, *(["  goes:", _list(goes)] if goes else ["  nothing goes"])]
    return "\n".join([*lines, *(["  stays:", _list(stays)] if stays else [])])


def _list(texts: Sequence[str]) -> str:
    wrap = textwrap.TextWrapper(
        WIDTH, initial_indent="  - ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(wrap.fill(text) for text in texts)
