# SPDX-License-Identifier: MIT
"""Lookup: how many hosts get a release at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.plugins.lookup import LookupBase

DOCUMENTATION = r"""
name: batches
author: Celery on Hosts
short_description: How many hosts of a play get a release at a time
description:
  - Returns what C(serial) of a play takes. All hosts at once where nothing runs on any of them yet, else the value of
    C(celery_serial), as the fact C(platform) has it.
options: {}
"""

EXAMPLES = r"""
- name: Run the application
  hosts: workers
  serial: "{{ lookup('celery_on_hosts.platform.batches', wantlist=true) }}"
"""

RETURN = r"""
_raw:
  description: Numbers of hosts, or shares of all.
  type: list
  elements: raw
"""


class LookupModule(LookupBase):
    """What Ansible loads."""

    def run(self, terms: Sequence[str], variables: Mapping[str, Any] | None = None, **options: Any) -> list[Any]:
        """Return the sizes of the batches."""
        known = variables or {}
        hostvars = known.get("hostvars", {})  # a syntax check knows no hosts
        hosts = [hostvars[host] for host in known.get("ansible_play_hosts_all", ()) if host in hostvars]
        if not hosts or all((host.get("__platform_unpacked") or {}).get("ansible_job_id") for host in hosts):
            return ["100%"]
        described = [host["platform"]["serial"] for host in hosts if "platform" in host]
        # Where no host is described, the check has failed: nothing runs, and its own words are the message.
        return list(described[0]) if described else ["100%"]
