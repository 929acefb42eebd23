# SPDX-License-Identifier: MIT
"""Action plugin: say who runs ansible-playbook, and take over the lock of a run that has ended on this controller."""

from __future__ import annotations

import os
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.playbook_run import describe, has_ended

MODULE = "celery_on_hosts.platform.deploy_lock"


class ActionModule(ActionBase):
    """The module's documentation says what this does."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Take or free the lock, and return the module's result with `host`, who keeps the lock."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        host = str(self._task.delegate_to or variables["inventory_hostname"])
        # This runs in a child of ansible-playbook's main process, one for each task.
        arguments = {"holder": describe(os.getppid())} | self._task.args
        try:
            result = self._take_or_free(arguments, variables)
        except AnsibleConnectionFailure as error:
            if "ansible_limit" not in variables or host in variables["ansible_play_hosts_all"]:
                raise
            why = " ".join(str(error).split())
            result = {"changed": False, "held": False, "holder": {}, "replaced": {}}
            result["warnings"] = [
                f"This run has no deploy lock: {host} keeps it and cannot be reached ({why}). --limit leaves {host} "
                "out, so the run goes on. Make sure that nobody else deploys."
            ]
        return result | {"host": host}

    def _take_or_free(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = self._execute_module(MODULE, arguments, task_vars=variables)
        found = result.get("holder") or {}
        ended = bool(found and result.get("failed") and has_ended(found))
        if ended:
            result = self._execute_module(MODULE, arguments | {"ended": found["run"]}, task_vars=variables)
        replaced = result.get("replaced")
        if replaced:
            why = "its process has ended on this machine" if ended else "UNLOCK=1 (celery_unlock: true) was given"
            result["warnings"] = [
                f"Took over the deploy lock from `make {replaced['verb']}` of {replaced['user']}@"
                f"{replaced['controller']}, process {replaced['pid']}: {why}."
            ]
        elif found and arguments.get("state") == "free":
            result["warnings"] = [
                f"This run had lost its deploy lock: {found['user']}@{found['controller']} took it over with "
                f"`make {found['verb']} UNLOCK=1` and may deploy now. Deploy again when that run is over."
            ]
        return result
