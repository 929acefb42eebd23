# SPDX-License-Identifier: MIT
"""Filters: what `make remove` shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.removal import removal_notes, removal_plan


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"removal_notes": removal_notes, "removal_plan": removal_plan}
