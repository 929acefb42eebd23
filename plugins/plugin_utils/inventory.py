# SPDX-License-Identifier: MIT
"""Evaluate the variables of the platform's hosts, as tasks of the role ``platform`` on these hosts would see them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.topology import GROUPS


class HostVariables:
    """The variables of the platform's hosts, below the defaults of the role of an action plugin's task.

    Args:
        action: the action plugin.
        task_vars: the variables of its task.
    """

    def __init__(self, action: ActionBase, task_vars: Mapping[str, Any]) -> None:
        role = action._task._role
        self.templar = action._templar
        self.hostvars = task_vars["hostvars"]
        self.groups = {name: list(hosts) for name, hosts in task_vars.get("groups", {}).items()}
        self.defaults: Mapping[str, Any] = role.get_default_vars() if role else {}
        self._places = {"playbook_dir": action._loader.get_basedir(), "role_path": role._role_path if role else ""}
        self._play_hosts: Sequence[str] = task_vars.get("ansible_play_hosts_all", ())

    @property
    def names(self) -> list[str]:
        """The platform's hosts; those of the play where no group of the platform has a host."""
        used = [host for name in GROUPS for host in self.groups.get(name, [])]
        return list(dict.fromkeys(used)) or list(self._play_hosts)

    @property
    def play_hosts(self) -> list[str]:
        """The platform's hosts, and hosts of the play that are in no group of the platform."""
        return list(dict.fromkeys([*self.names, *self._play_hosts]))

    def raw(self, host: str) -> Mapping[str, Any]:
        """Return a host's variables as they stand in the inventory."""
        found: Mapping[str, Any] = self.hostvars.raw_get(host)
        return found

    def set_by_user(self, host: str) -> list[str]:
        """Return the names of the platform's variables that the user set for a host."""
        return [name for name in self.raw(host) if name.startswith("celery_")]

    def evaluate(self, host: str, names: Sequence[str]) -> Iterator[tuple[str, Any, str]]:
        """Yield name, value and error of some variables of a host; the error is empty where there is none."""
        raw = self.raw(host)
        values = {**self._places, **self.defaults, **raw, "hostvars": self.hostvars, "inventory_hostname": host}
        templar = self.templar.copy_with_new_env(available_variables=values)
        for name in names:
            if name in values:
                try:
                    yield name, templar.template(values[name]), ""
                except AnsibleError as error:
                    yield name, None, " ".join(str(error).split())

    def variables(self, host: str) -> list[str]:
        """Return the names of the platform's variables of a host: those of the role, and those that the user set."""
        known = [name for name in self.defaults if name.startswith("celery_")]
        return list(dict.fromkeys([*known, *self.set_by_user(host)]))
