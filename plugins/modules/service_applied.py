# SPDX-License-Identifier: MIT
"""Ansible module: make a systemd service run with the present content of its files."""

from __future__ import annotations

DOCUMENTATION = r"""
module: service_applied
short_description: Make a systemd service run with the present content of its files
description:
  - Records a digest of a service's files whenever this module starts, restarts or reloads the service. When the files
    differ from that, O(on_change) is done. Unlike a handler, this survives an interrupted deployment.
  - A stopped service is started. A service that runs and has no record is restarted.
  - The record is written, empty, before the first file. So it also tells
    M(celery_on_hosts.platform.host_conflicts) that the service belongs to the platform.
  - What was at each path of O(configuration) before is kept beside the records, for
    M(celery_on_hosts.platform.removal).
  - What cannot be finished is undone. The files are kept before the first is written, until the service runs with the
    new ones. A service that refuses them gets the previous files back, with their owner and mode, and runs with them
    if it ran before; the module fails with the service's own words. An interrupted run leaves what is kept to the next.
  - With nothing to do it costs one call of systemctl.
author: Celery on Hosts
options:
  name:
    description: The systemd unit, such as V(redis-server) or V(nginx.service).
    type: str
    required: true
  configuration:
    description:
      - Files to write before the service is looked at, each as M(celery_on_hosts.platform.files) takes it. They count
        as O(files), and each may say by its own C(on_change) how the service takes it up, V(none) included.
    type: list
    elements: dict
    default: []
    suboptions:
      dest:
        description: Absolute path on the host.
        type: path
        required: true
      content:
        description: The text of a file. Shown by C(--diff).
        type: str
      secret:
        description: The text of a file that holds a secret. Never shown.
        type: str
      block:
        description:
          - Lines at the top of a file of others, between two lines that mark them. The rest of the file stays, and so
            do its owner and mode. Changes of the rest do not count.
        type: str
      link:
        description: Make a symbolic link to this target.
        type: str
      state:
        description: V(absent) removes a file, a link or an empty directory.
        type: str
        choices: [file, directory, link, absent]
      owner:
        description: Name of the owner.
        type: str
        default: root
      group:
        description: Name of the group.
        type: str
        default: root
      mode:
        description: Octal mode. V(0644) for files and V(0755) for directories when left out.
        type: str
      on_change:
        description: How the service takes up this file. O(on_change) when left out.
        type: str
        choices: [restart, reload, command, none]
  files:
    description: Further files and folders that are the service's configuration. Content, owner and mode count.
    type: list
    elements: path
    default: []
  on_change:
    description: What makes the service take up changed files. With V(command) it is O(command).
    type: str
    choices: [restart, reload, command]
    default: restart
  command:
    description: The command of O(on_change=command), one element an argument.
    type: list
    elements: str
    default: []
  test:
    description:
      - A command that fails when the service would not take up its files, one element an argument. It is run before
        the service is started, restarted or reloaded.
    type: list
    elements: str
    default: []
  logs:
    description: The service's own log files, whose last lines are shown when it does not run.
    type: list
    elements: path
    default: []
  state:
    description: Whether the service runs.
    type: str
    choices: [started, stopped]
    default: started
  enabled:
    description: Whether the service starts when the host does.
    type: bool
    default: true
  wait:
    description:
      - Wait until systemd has finished. Otherwise the first start of a service is queued, and a later task sees the
        outcome. A service that ran before is always waited for, because it may need its previous files.
    type: bool
    default: true
  wait_for:
    description: >-
      After a start, restart or reload, wait until this accepts connections. A port, C(address:port), or the absolute
      path of a Unix socket.
    type: str
  timeout:
    description: How long O(wait_for) may take, in seconds.
    type: int
    default: 60
  stamps:
    description: The folder on the host for the records.
    type: path
    default: /var/lib/celery-platform/applied
"""

EXAMPLES = r"""
- name: Run Redis
  celery_on_hosts.platform.service_applied:
    name: redis-server
    files: [/etc/redis/redis.conf, /etc/redis/users.acl, /etc/systemd/system/redis-server.service.d]
    wait_for: "6379"
    logs: [/var/log/redis/redis-server.log]

- name: Run nginx
  celery_on_hosts.platform.service_applied:
    name: nginx
    files: [/etc/nginx]
    on_change: reload
    test: [nginx, -t, -q]
"""

RETURN = r"""
actions:
  description: What was done (in check mode, what would be done).
  returned: always
  type: list
  elements: str
  sample: [daemon-reload, restart]
changed_files:
  description: The files that differ from what the service was started with.
  returned: always
  type: list
  elements: str
"""

import contextlib
from pathlib import Path
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.module_utils.applied_files import (
    differing,
    digests,
    read_stamp,
    still_named,
    write_stamp,
)
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.files import (
    ARGUMENT_SPEC,
    FilesError,
    SilentModule,
    bring,
)
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.names import ORIGINALS, PREVIOUS, STAMPS
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.originals import Originals
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.previous import Previous
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.systemd import (
    TAKING_UP,
    ServiceError,
    Systemd,
    plan,
    run,
)


def wanted_action(changed: list[str], params: dict[str, Any]) -> str | None:
    """Return the action that applies the changed files, the most thorough of those asked for; None for no action."""
    asked = {entry["dest"]: entry["on_change"] or params["on_change"] for entry in params["configuration"]}
    found = {asked.get(path, params["on_change"]) for path in changed}
    return next((action for action in ("restart", "reload", "command") if action in found), None)


ARGUMENTS: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "configuration": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": ARGUMENT_SPEC | {"on_change": {"type": "str", "choices": ["restart", "reload", "command", "none"]}},
    },
    "files": {"type": "list", "elements": "path", "default": []},
    "on_change": {"type": "str", "choices": ["restart", "reload", "command"], "default": "restart"},
    "command": {"type": "list", "elements": "str", "default": []},
    "test": {"type": "list", "elements": "str", "default": []},
    "logs": {"type": "list", "elements": "path", "default": []},
    "state": {"type": "str", "choices": ["started", "stopped"], "default": "started"},
    "enabled": {"type": "bool", "default": True},
    "wait": {"type": "bool", "default": True},
    "wait_for": {"type": "str"},
    "timeout": {"type": "int", "default": 60},
    "stamps": {"type": "path", "default": STAMPS},
}


def apply(systemd: Systemd, unit: dict[str, str], params: dict[str, Any], action: str | None) -> list[str]:
    """Bring a unit to the wanted state, and wait until the service accepts connections.

    Args:
        systemd: calls systemctl.
        unit: what `systemctl show` says.
        params: the module's parameters.
        action: what applies changed files, None where none changed.

    Returns:
        The actions that were done.

    Raises:
        ServiceError: the unit is masked or missing, an action failed, or nothing accepts connections in time.
    """
    first: list[str] = []
    if unit["LoadState"] == "masked":
        advice = f"If nobody wants that: systemctl unmask {systemd.name}"
        raise ServiceError(f"{systemd.name} is masked.", advice, touched=False)
    if unit["LoadState"] == "not-found":  # a new unit file is known after the reload
        first = ["daemon-reload"]
        systemd.call("systemctl", "daemon-reload")
        unit = systemd.show()
        if unit["LoadState"] == "not-found":
            raise ServiceError(
                f"There is no unit {systemd.name} on this host.",
                "Install its package, or write its unit file, first.",
                touched=False,
            )
    actions = plan(unit, params, action)
    if params["test"] and TAKING_UP & set(actions):
        try:
            systemd.call(*params["test"], failed=f"{systemd.name} would not take up its files")
        except ServiceError as error:
            error.touched = False
            raise
    run(systemd, actions, params)
    if params["wait_for"] and TAKING_UP & set(actions):
        systemd.wait_for(params["wait_for"], params["timeout"])
    return [*first, *(action for action in actions if action not in first)]


def undo(systemd: Systemd, previous: Previous, params: dict[str, Any], actions: list[str], ran: bool) -> str:
    """Give a service its previous files back, and let it run with them if it ran before.

    Args:
        systemd: calls systemctl.
        previous: what the files were.
        params: the module's parameters.
        actions: what lets the service take them up; none where nothing was done to the service.
        ran: whether the service ran before.

    Returns:
        What was done, a sentence; empty where no file had changed.
    """
    try:
        paths = previous.put_back()
    except OSError as error:
        return f"The previous files could not be put back: {error}. They are kept in {previous.path}."
    previous.forget()
    if not paths:
        return ""
    back = f"The previous state of {', '.join(sorted(paths))} is back"
    try:
        if any(path.startswith("/etc/systemd/") for path in paths):
            systemd.call("systemctl", "daemon-reload")
        if not ran:
            systemd.call("systemctl", "stop", systemd.name)
            return f"{back}. {systemd.name} did not run before, and does not run now."
        unit = systemd.show()
        if unit["LoadState"] != "loaded":
            return f"{back}."
        if unit["ActiveState"] != "active" or "restart" in actions:
            actions = ["reset-failed", "restart"]
        run(systemd, actions, params | {"wait": True})
        if params["wait_for"] and actions:
            systemd.wait_for(params["wait_for"], params["timeout"])
    except ServiceError as error:
        return f"{back}, and {systemd.name} does not run with it either: {error}"
    return f"{back}, and {systemd.name} runs with it."


def main() -> None:
    """Run the module."""
    module = SilentModule(
        argument_spec=ARGUMENTS,
        required_if=[("on_change", "command", ["command"])],
        supports_check_mode=True,
    )
    params = module.params
    systemd = Systemd(params["name"], params["logs"])
    stamp = Path(params["stamps"]) / f"{systemd.name}.json"
    stamped = read_stamp(stamp)
    originals = Originals(stamp.parent.parent / Path(ORIGINALS).name, systemd.name)
    previous = Previous(stamp.parent.parent / Path(PREVIOUS).name, systemd.name)
    try:
        if not module.check_mode:
            paths = [entry["dest"] for entry in params["configuration"]]
            originals.keep(paths, systemd.show() if stamped is None else None)
            previous.keep(bring(params["configuration"], check_mode=True)[0])
        if stamped is None and not module.check_mode:
            write_stamp(stamp, {})
        written, diffs = bring(params["configuration"], module.check_mode)
    except (FilesError, OSError) as error:
        if not module.check_mode:
            with contextlib.suppress(OSError):
                previous.put_back()
                previous.forget()
        module.fail_json(msg=str(error))
    ours = [entry["dest"] for entry in params["configuration"] if entry["on_change"] != "none"]
    blocks = {entry["dest"] for entry in params["configuration"] if entry["block"] is not None}
    found = digests([*params["files"], *ours], blocks)
    before = still_named(stamped, [*params["files"], *ours])
    unit = systemd.show()
    # In check mode nothing was written: count the files that would be.
    changed_files = sorted({*differing(before, found), *(path for path in written if path in ours)})
    if any(path.startswith("/etc/systemd/") for path in [*changed_files, *written]):
        unit["NeedDaemonReload"] = "yes"  # systemd does not always see a drop-in of a unit that it has not loaded yet
    action = wanted_action(changed_files, params)
    actions = plan(unit, params, action)
    because = "".join(f"  because of {path}\n" for path in changed_files if actions)
    result = {
        "changed": bool(actions or written),
        "actions": actions,
        "changed_files": changed_files,
        "diff": [*diffs, {"before": "", "after": "".join(f"{systemd.name}: {one}\n" for one in actions) + because}],
    }
    if module.check_mode:
        module.exit_json(**result)
    # A reloaded or restarted service ran before. So did one that an interrupted deployment has stopped.
    ran = bool(stamped) or "active" in (unit["ActiveState"], originals.unit.get("ActiveState"))
    params["wait"] = params["wait"] or ran
    try:
        result["actions"] = apply(systemd, unit, params, action)
        if before != found and params["state"] == "started":
            write_stamp(stamp, found)
        previous.forget()
    except ServiceError as error:
        done = undo(systemd, previous, params, [action] if action and error.touched else [], ran)
        module.fail_json(msg="\n".join(filter(None, [str(error), done, f"What to do: {error.advice}"])))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
