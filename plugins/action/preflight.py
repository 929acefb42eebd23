# SPDX-License-Identifier: MIT
"""Check hosts and variables on the controller, and report all that is wrong at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.inventory.manager import split_host_pattern
from ansible.plugins.action import ActionBase
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.preflight import (
    GROUPS,
    SECRETS,
    check,
    render,
)
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.release import (
    ReleaseError,
    find_lock,
    locked_names,
    pinned,
    requirement_blocks,
)


def read_source(path: str) -> dict[str, Any]:
    """Return what preflight wants to know of an application's folder on the controller."""
    source = Path(path).expanduser()
    if not source.is_dir():
        return {"exists": False}
    try:
        lock = find_lock(source)
        # what lists no version lists no dependencies either, most likely
        complete = pinned(lock) and (lock.form != "requirements" or len(requirement_blocks(lock.text)) > 1)
        return {"exists": True, "packages": sorted(locked_names(lock)) if complete else None}
    except ReleaseError as error:
        return {"exists": True, "error": error.message, "advice": error.advice}
    except OSError as error:
        return {"exists": True, "error": f"{error.filename}: {error.strerror}", "advice": "Check its owner and mode."}


class ActionModule(ActionBase):
    """Runs once, on the controller; connects to no host."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        known = list(self._task.args.get("known") or [])
        groups = {name: list(hosts) for name, hosts in variables.get("groups", {}).items()}
        used = [host for name in GROUPS for host in groups.get(name, [])]
        names = list(dict.fromkeys(used)) or list(variables.get("ansible_play_hosts_all", []))
        hosts = {name: self._host(name, variables["hostvars"]) for name in names}
        sources = {str(state["vars"].get("celery_app_source")) for state in hosts.values()}
        problems = check(
            {
                "groups": groups,
                "limit": split_host_pattern(variables.get("ansible_limit") or ""),
                "known": known,
                "hosts": hosts,
                "sources": {path: read_source(path) for path in sources},
            }
        )
        errors = [problem for problem in problems if problem.level == "error"]
        warnings = [problem.render() for problem in problems if problem.level != "error"]
        result |= {"changed": False, "problems": [problem.render() for problem in errors]}
        if warnings:
            result["warnings"] = warnings
        if errors:
            result |= {"failed": True, "msg": render(errors)}
        return result

    def _host(self, name: str, hostvars: Any) -> dict[str, Any]:
        """Return one host's variables as its own tasks would see them: a role's defaults below the inventory."""
        raw: Mapping[str, Any] = hostvars.raw_get(name)
        role = self._task._role
        defaults: dict[str, Any] = role.get_default_vars() if role else {}
        values = {**defaults, **raw, "hostvars": hostvars, "inventory_hostname": name}
        values.setdefault("playbook_dir", self._loader.get_basedir())
        templar = self._templar.copy_with_new_env(available_variables=values)
        mine = [key for key in raw if key.startswith("celery_")]
        state: dict[str, Any] = {"user": mine, "vars": {}, "errors": {}, "facts": dict(raw.get("ansible_facts") or {})}
        for key in {*(key for key in defaults if key.startswith("celery_")), *mine, "redis_maxmemory_policy"}:
            if key not in values or (key.endswith(SECRETS) and key not in mine):
                continue  # a secret that is not set is made when it is first used
            try:
                state["vars"][key] = templar.template(values[key])
            except AnsibleError as error:
                state["errors"][key] = " ".join(str(error).split())
        source = state["vars"].get("celery_app_source")
        if isinstance(source, str) and source:
            state["vars"]["celery_app_source"] = str(Path(source).expanduser().absolute())
        return state
