# SPDX-License-Identifier: MIT
"""Action plugin: say what the inventory means for each host."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.celery_on_hosts.platform.plugins.filter.signing import self_signed
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.inventory import HostVariables
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.platform import Inventory, Platform


class ActionModule(ActionBase):
    """Runs once, on the controller, after preflight; connects to no host. The module's documentation holds."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the fact of each host. The module's documentation says what is in it."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        hosts = HostVariables(self, task_vars or {})
        platform = Platform(read_inventory(hosts), self_signed)
        described = {host: platform.describe(host) for host in hosts.play_hosts}
        outdated = platform.outdated_credentials(platform.service_hosts)
        return result | {"changed": False, "hosts": described, "outdated_credentials": outdated}


def read_inventory(hosts: HostVariables) -> Inventory:
    """Return the inventory with all variables evaluated. Secrets that do not exist yet are made.

    Raises:
        AnsibleError: a variable cannot be evaluated; preflight would have said so.
    """
    found = {}
    for host in hosts.play_hosts:
        raw = hosts.raw(host)
        values = {name: value for name, value, _ in hosts.evaluate(host, hosts.variables(host))}
        facts = dict(raw.get("ansible_facts") or {})
        known = {"ansible_facts": facts, "group_names": list(raw.get("group_names", []))}
        (address,) = [value for _, value, _ in hosts.evaluate(host, ["ansible_host"])] or [""]
        (folder,) = [value for _, value, _ in hosts.evaluate(host, ["inventory_dir"])] or [""]
        found[host] = {**values, **known, "ansible_host": address, "inventory_dir": folder}
    return Inventory(hosts.groups, found)
