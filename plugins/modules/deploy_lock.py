#!/usr/bin/python
# SPDX-License-Identifier: MIT
"""Ansible module: the deploy lock, a file on one host that names who deploys."""

from __future__ import annotations

DOCUMENTATION = r"""
module: deploy_lock
short_description: Let one controller at a time deploy
description:
  - Takes the deploy lock, a file on the host that says who deploys since when. Fails when another run of
    ansible-playbook holds the lock, and says who that is and what to do.
  - A run that holds the lock may take it again. Only the run that holds the lock frees it.
  - The lock of a run that has ended on the same controller is taken over, with a warning. Such a lock is left behind by
    a run that was killed.
  - The lock is below C(/run), so it is gone after a reboot of the host.
  - Where V(--limit) leaves out the host that keeps the lock, and the host cannot be reached, the run goes on without
    the lock, with a warning. An outage may be why V(--limit) was used.
  - Never reports a change, because the lock is no part of what an inventory describes.
  - In check mode nothing is taken or freed. A lock that another run holds is refused all the same, because a dry run
    would compare with hosts that are changing.
  - The callback P(celery_on_hosts.platform.deploy_lock#callback) frees the lock of a run that fails or is interrupted.
options:
  state:
    description: Whether this run is to hold the lock.
    type: str
    choices: [held, free]
    default: held
  verb:
    description: What this run does, as C(make) calls it. Shown to whoever is refused.
    type: str
    default: deploy
  force:
    description: Take the lock also when another run holds it.
    type: bool
    default: false
  path:
    description: The file. Its folder is made when it is missing.
    type: path
    default: /run/celery-on-hosts/deploy.json
  ended:
    description: The id of a run that is known to be over. Set by the action plugin.
    type: str
    default: ""
  holder:
    description: This run. Set by the action plugin.
    type: dict
    required: true
    suboptions:
      run:
        description: An id that no other run has.
        type: str
        required: true
      user:
        description: Who started ansible-playbook.
        type: str
        default: ""
      controller:
        description: The host name of the machine that runs ansible-playbook.
        type: str
        default: ""
      machine:
        description: What tells the boot and the PID namespace of the controller from all others.
        type: str
        default: ""
      pid:
        description: The main process of ansible-playbook.
        type: int
        default: 0
      started:
        description: When that process was started, in ticks of the controller's kernel since its boot.
        type: int
        default: 0
author:
  - Celery on Hosts
"""

EXAMPLES = r"""
- name: Take the deploy lock
  celery_on_hosts.platform.deploy_lock: {verb: deploy, force: "{{ celery_unlock }}"}
  delegate_to: "{{ groups.workers[0] }}"
  run_once: true
  register: __deploy_lock

- name: Free the deploy lock
  celery_on_hosts.platform.deploy_lock: {state: free}
  delegate_to: "{{ groups.workers[0] }}"
  run_once: true
  when: __deploy_lock.held
"""

RETURN = r"""
held:
  description: Whether this run holds the lock now.
  returned: always
  type: bool
holder:
  description: Who holds the lock now. Empty where nobody does.
  returned: always
  type: dict
replaced:
  description: The other run that held the lock until now. Empty where none did.
  returned: always
  type: dict
host:
  description: The host that keeps the lock, by its name in the inventory.
  returned: success
  type: str
path:
  description: The file.
  returned: success
  type: str
"""

import contextlib
import json
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_on_hosts.platform.plugins.module_utils import atomic
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.locks import locked

KEYS = {"run", "user", "controller", "machine", "pid", "started", "verb", "since"}


def duration(seconds: float) -> str:
    """Return a time in words: in the largest unit that fits, and in minutes beside hours."""
    minutes, hours, days = (int(max(seconds, 0)) // unit for unit in (60, 3600, 86400))
    if days > 1:
        return f"{days} days"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{int(max(seconds, 0))} s"


def refusal(holder: Mapping[str, Any], verb: str, now: float) -> str:
    """Return what a run is told when another one holds the lock.

    Args:
        holder: the other run, as the file has it.
        verb: what this run was to do.
        now: seconds since 1970, by the clock of the host that keeps the lock.
    """
    since = datetime.fromtimestamp(holder["since"], UTC)
    who = f"{holder['user']}@{holder['controller']}"
    return (
        f"Nothing was changed: {who} has been running `make {holder['verb']}` for {duration(now - holder['since'])}, "
        f"since {since:%Y-%m-%d %H:%M:%S} UTC, as process {holder['pid']}. "
        "Two runs at once would undo each other's work.\n"
        f"What to do: wait until that run is over. If it is known to be over (its controller is gone, for example): "
        f"make {verb} UNLOCK=1 (celery_unlock: true)"
    )


def read(path: str) -> dict[str, Any]:
    """Return who holds the lock; empty where nobody does. Raises OSError."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (FileNotFoundError, ValueError):
        return {}
    # A run writes the file in one step. What is not whole is no run's lock.
    return found if isinstance(found, dict) and found.keys() >= KEYS else {}


def write(path: str, holder: Mapping[str, Any]) -> None:
    """Write who holds the lock, in one step. Raises OSError."""
    atomic.write(path, json.dumps(holder), mode=0o644)


def take(module: AnsibleModule) -> dict[str, Any]:
    """Take the lock for this run, and return the module's result. Fail when another run holds the lock."""
    wanted, path = module.params, module.params["path"]
    now = time.time()
    found = read(path)
    mine = wanted["holder"] | {"verb": wanted["verb"], "since": int(now)}
    other = bool(found) and found["run"] != mine["run"]
    if other and not wanted["force"] and found["run"] != wanted["ended"]:
        module.fail_json(msg=refusal(found, wanted["verb"], now), held=False, holder=found, replaced={})
    if module.check_mode:
        return {"held": False, "holder": found, "replaced": {}}
    if other or not found:
        write(path, mine)
    return {"held": True, "holder": mine if other or not found else found, "replaced": found if other else {}}


def free(module: AnsibleModule) -> dict[str, Any]:
    """Free the lock where this run holds it, and return the module's result."""
    found = read(module.params["path"])
    if found and found["run"] == module.params["holder"]["run"]:
        if not module.check_mode:
            os.unlink(module.params["path"])
        found = {}
    return {"held": False, "holder": found, "replaced": {}}


def main() -> None:
    """Entry point of the module."""
    texts = {name: {"type": "str", "default": ""} for name in ("user", "controller", "machine")}
    numbers = {name: {"type": "int", "default": 0} for name in ("pid", "started")}
    run = {"run": {"type": "str", "required": True}}
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["held", "free"], "default": "held"},
            "verb": {"type": "str", "default": "deploy"},
            "force": {"type": "bool", "default": False},
            "path": {"type": "path", "default": "/run/celery-on-hosts/deploy.json"},
            "ended": {"type": "str", "default": ""},
            "holder": {"type": "dict", "required": True, "options": run | texts | numbers},
        },
        supports_check_mode=True,
    )
    act = take if module.params["state"] == "held" else free
    folder = os.path.dirname(module.params["path"])
    try:
        if not module.check_mode:
            os.makedirs(folder, mode=0o755, exist_ok=True)
        with contextlib.nullcontext() if module.check_mode else locked(folder):
            result = act(module)
    except OSError as error:
        module.fail_json(msg=f"The deploy lock {module.params['path']} cannot be read or written: {error.strerror}")
    module.exit_json(changed=False, path=module.params["path"], **result)


if __name__ == "__main__":
    main()
