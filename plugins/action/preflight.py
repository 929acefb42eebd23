# SPDX-License-Identifier: MIT
"""Check hosts and variables on the controller, and report all that is wrong at once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ansible.inventory.manager import split_host_pattern
from ansible.plugins.action import ActionBase
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.inventory import HostVariables
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.preflight.check import check
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.preflight.problem import render
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.preflight.values import SECRETS
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.lock import (
    find_lock,
    locked_names,
    locked_version,
)
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.request import ReleaseError
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.shipped import source_path


def read_source(path: str, name: str = "") -> dict[str, Any]:
    """Return what preflight wants to know of an application's folder on the controller.

    Args:
        path: the folder.
        name: the lock, relative to the folder; found by its usual names when left out.
    """
    source = Path(path).expanduser()
    if not source.is_dir():
        return {"exists": False}
    try:
        lock = find_lock(source, name)
        # what lists no version lists no dependencies either, most likely
        return {
            "exists": True,
            "lock": str(lock.path),
            "celery": locked_version(lock, "celery"),
            "packages": sorted(locked_names(lock)) if lock.complete else None,
        }
    except ReleaseError as error:
        return {"exists": True, "error": error.message, "advice": error.advice}
    except OSError as error:
        return {"exists": True, "error": f"{error.filename}: {error.strerror}", "advice": "Check its owner and mode."}


def unreadable_files(entries: Any, folder: Path) -> dict[str, str]:
    """Return which files of celery_files cannot be read on the controller, and why.

    Args:
        entries: the variable, which may be of any kind.
        folder: the inventory's folder.
    """
    found = {}
    for entry in entries if isinstance(entries, list) else []:
        src = entry.get("src") if isinstance(entry, dict) else None
        if isinstance(src, str) and src:
            path = source_path(src, folder)
            try:
                for one in path.rglob("*") if path.is_dir() else [path]:
                    if one.is_file() or one == path:
                        one.open("rb").close()
            except OSError as error:
                found[src] = f"{error.filename}: {error.strerror}"
    return found


class ActionModule(ActionBase):
    """Runs once, on the controller; connects to no host."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        known = HostVariables(self, variables)
        hosts = {name: host_state(known, name) for name in known.names}
        sources = {
            str(state["vars"].get("celery_app_source")): str(state["vars"].get("celery_app_lock") or "")
            for state in hosts.values()
        }
        unreadable: dict[str, str] = {}
        for state in hosts.values():
            unreadable |= unreadable_files(state["vars"].get("celery_files"), Path(state.pop("inventory_dir")))
        problems = check(
            {
                "groups": known.groups,
                "limit": split_host_pattern(variables.get("ansible_limit") or ""),
                "known": list(self._task.args.get("known") or []),
                "hosts": hosts,
                "now": time.time(),
                "unreadable": unreadable,
                "sources": {path: read_source(path, lock) for path, lock in sources.items()},
            }
        )
        errors = [problem for problem in problems if problem.level == "error"]
        warnings = [problem.render() for problem in problems if problem.level != "error"]
        result |= {"changed": False, "problems": [problem.render() for problem in errors]}
        if warnings:
            result["warnings"] = warnings
            result["weaknesses"] = warnings  # printed again at the end
        if errors:
            result |= {"failed": True, "msg": render(errors)}
        return result


def host_state(known: HostVariables, host: str) -> dict[str, Any]:
    """Return what preflight wants to know of a host. Secrets that are not set are made when they are first used."""
    user = known.set_by_user(host)
    unused = (*SECRETS, "_database_login")  # the login's name follows from secrets
    names = [name for name in known.variables(host) if name in user or not name.endswith(unused)]
    state: dict[str, Any] = {"user": user, "vars": {}, "errors": {}}
    state["facts"] = dict(known.raw(host).get("ansible_facts") or {})
    for name, value, error in known.evaluate(host, [*names, "redis_maxmemory", "redis_maxmemory_policy"]):
        if error:
            state["errors"][name] = error
        else:
            state["vars"][name] = value
    state["inventory_dir"] = next((value for _, value, _ in known.evaluate(host, ["inventory_dir"])), None) or "."
    source = state["vars"].get("celery_app_source")
    if isinstance(source, str) and source:
        state["vars"]["celery_app_source"] = str(Path(source).expanduser().absolute())
    return state
