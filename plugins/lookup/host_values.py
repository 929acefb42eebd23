# SPDX-License-Identifier: MIT
"""Lookup: a variable's value on each host of the play where it has one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.plugins.lookup import LookupBase

DOCUMENTATION = r"""
name: host_values
author: Celery on Hosts
short_description: A variable's value on each host where it is set and not empty
description:
  - Returns a mapping of hosts to values. Hosts on which the variable is not set, false, 0 or empty are left out, unless
    O(missing) is given.
options:
  _terms:
    description: The variable's name. Keys below it follow after dots, such as C(__health.rc).
    required: true
  hosts:
    description: The hosts that are asked; those of the play when left out.
    type: list
    elements: str
  missing:
    description: The value for hosts that would be left out.
    type: raw
"""

EXAMPLES = r"""
- name: Say where something failed
  ansible.builtin.debug:
    msg: "{{ lookup('celery_on_hosts.platform.host_values', '__health.rc') | join(', ') }}"
"""

RETURN = r"""
_raw:
  description: The values by host.
  type: list
  elements: dict
"""


def value_below(variables: Any, name: str) -> Any:
    """Return the value of a dotted name; None where a part of it is missing."""
    found = variables
    for key in name.split("."):
        if not isinstance(found, Mapping) or key not in found:
            return None
        found = found[key]
    return found


class LookupModule(LookupBase):
    """What Ansible loads."""

    def run(
        self, terms: Sequence[str], variables: Mapping[str, Any] | None = None, **options: Any
    ) -> list[dict[str, Any]]:
        """Return the mapping of hosts to values, in a list of one."""
        known = variables or {}
        self.set_options(var_options=known, direct=options)
        hosts = self.get_option("hosts")
        hosts = known["ansible_play_hosts_all"] if hosts is None else hosts
        (name,) = terms
        missing = self.get_option("missing")
        values = {host: value_below(known["hostvars"].get(host), name) or missing for host in hosts}
        return [{host: value for host, value in values.items() if value is not None}]
