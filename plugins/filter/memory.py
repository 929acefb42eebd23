# SPDX-License-Identifier: MIT
"""Jinja filter that makes a share of a host's memory a figure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

try:
    from ansible.errors import AnsibleFilterError as _Error
except ImportError:  # the unit tests need no Ansible
    _Error = ValueError

STEP = 16  # MB. Another kernel counts a little more or less of the same memory: that is no reason for another limit


def memory_limit(limit: str, meminfo: str) -> str:
    """Return a limit as Redis takes it.

    Args:
        limit: a share of the memory, such as 25%, or a limit in Redis's own form, which is returned as it is.
        meminfo: the content of the host's /proc/meminfo.

    Raises:
        AnsibleFilterError: the limit is a share, and meminfo does not say how much memory there is.
    """
    share = re.fullmatch(r"(\d+)%", str(limit))
    if not share:
        return str(limit)
    total = re.search(r"^MemTotal: +(\d+) kB$", meminfo, re.MULTILINE)
    if not total:
        raise _Error(f"redis_maxmemory is {limit}, and /proc/meminfo has no MemTotal. Set a figure, such as 512mb.")
    megabytes = int(total[1]) * int(share[1]) // 100 // 1024
    return f"{max(megabytes // STEP, 1) * STEP}mb"


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"memory_limit": memory_limit}
