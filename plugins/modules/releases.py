#!/usr/bin/python
"""Ansible module: list and change the releases of a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: releases
short_description: List and change the releases of a host
description:
  - Returns which releases are unpacked, which worked, which are bad and why, and which one each program runs. The
    running processes are asked for that, not the link C(current).
  - Makes a release current, records whether it worked, and removes releases that nothing needs.
options:
  root:
    description: Where releases live on the host.
    type: path
    default: /opt/celery
  find:
    description:
      - Choose a release, by its id, or as V(previous) or V(current). It is an error when there is no such release.
    type: str
    default: ""
  configuration:
    description:
      - A digest of the settings that the release O(find) or O(bad) runs with. A release that did not work with other
        settings may be chosen, because the settings may have been the reason.
    type: str
    default: ""
  again:
    description: Let O(find) choose a release that is marked bad.
    type: bool
    default: false
  current:
    description: Make this release current.
    type: str
    default: ""
  checked:
    description: Record that the release O(current) was checked with this configuration.
    type: str
    default: ""
  summary:
    description: What that check printed, with C(--summary). Empty where it did not run.
    type: str
    default: ""
  worked:
    description: Record that this release works, and is no longer bad.
    type: str
    default: ""
  trial:
    description:
      - O(current) is a candidate release. Before it is made current, keep the settings until a release O(worked).
        Settings that are already kept are not replaced, because the ones after them have not worked.
      - Without it, O(current) removes what was kept.
    type: bool
    default: false
  back:
    description: Roll back. Put the kept settings back, and return the kept files of programs.
    type: bool
    default: false
  bad:
    description: Record that this release does not work.
    type: str
    default: ""
  reason:
    description: Why it is O(bad).
    type: str
    default: ""
  keep:
    description:
      - Remove releases and packages, except this many of the releases that worked last, the current and the previous
        one, and those that a process runs. Nothing is removed when left out.
    type: int
  reports:
    description: The folder of heartbeats, in which workers and beat write which release they run.
    type: path
    default: /run/celery
  platform:
    description: The file that lists the programs that should run.
    type: path
    default: /etc/celery/platform.json
  settings:
    description: The folder of settings that programs read when they start.
    type: path
    default: /etc/celery
  drained:
    description: The file that exists while the host's workers are drained.
    type: path
    default: /etc/ansible/facts.d/celery.fact
author:
  - Celery on Hosts
"""

EXAMPLES = r"""
- name: Ask for the releases
  celery_on_hosts.platform.releases:
  register: releases

- name: Make another one current
  celery_on_hosts.platform.releases:
    current: "{{ releases.previous }}"
"""

RETURN = r"""
current:
  description: The release that is current, empty where none is.
  returned: always
  type: str
worked:
  description: The release that worked last, empty where none did.
  returned: always
  type: str
previous:
  description: The release that worked before the current one, empty where none did.
  returned: always
  type: str
found:
  description: The release that O(find) chose.
  returned: always
  type: str
releases:
  description: What is recorded of each release that is unpacked or bad.
  returned: always
  type: list
  elements: dict
  sample:
    - {release: 0123456789ab, built_from: 1a2b3c4, worked: "2026-01-31T12:00:00Z", bad: "", checked: "", summary: {}}
programs:
  description: The release that each program runs, empty for one that does not run.
  returned: always
  type: dict
  sample: {celery: 0123456789ab, "celery (leaving)": ba9876543210}
drained:
  description: Whether the host's workers are drained.
  returned: always
  type: bool
content:
  description: For O(back), the programs' files that M(celery_on_hosts.platform.supervisor_programs) kept; else empty.
  returned: always
  type: str
unproven:
  description: Whether settings to roll back to are kept, because what came after them has not worked yet.
  returned: always
  type: bool
removed:
  description: The folders that were removed (in check mode, that would be).
  returned: always
  type: list
  elements: str
"""

import json
import os
from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.check_summary import read_summary
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.host_releases import Backup, Releases
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.names import (
    CELERY_ROOT,
    DRAINED_FACT,
    PLATFORM_FILE,
    REPORTS,
    SETTINGS,
)


def programs_of(path: str) -> list[str]:
    """Return the application's programs of this host from platform.json, empty where there is no such file."""
    try:
        with open(path, encoding="utf-8") as file:
            said = json.load(file)["programs"]
    except FileNotFoundError:
        return []
    return [one["program"] for one in said if one["kind"] in ("worker", "beat", "web")]


def find(releases: Releases, wanted: str, configuration: str, again: bool) -> str:
    """Return the id of the release that is asked for.

    Args:
        releases: the host's.
        wanted: an id, previous or current.
        configuration: the digest of the settings that the release is to run with.
        again: whether a release that is marked bad may be chosen.

    Raises:
        ValueError: there is no such release; the message lists those that exist.
    """
    unpacked = releases.unpacked
    known = f"There are: {', '.join(unpacked) or 'none'} (`make releases`)."
    name = {"previous": releases.previous, "current": releases.current}.get(wanted, wanted)
    if not name:
        raise ValueError(f"This host has no {wanted} release. {known}")
    if name not in unpacked:
        raise ValueError(f"This host has no release {name}. {known}")
    bad = releases.bad_with(name, configuration)
    if bad and not again:
        raise ValueError(f"Release {name} is marked bad since {bad['time']}: {bad['reason']}\n{known}")
    return name


def main() -> None:
    """Run the module."""
    texts = ("find", "current", "checked", "summary", "configuration", "worked", "bad", "reason")
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "default": CELERY_ROOT},
            **{name: {"type": "str", "default": ""} for name in texts},
            **{name: {"type": "bool", "default": False} for name in ("again", "trial", "back")},
            "keep": {"type": "int"},
            "reports": {"type": "path", "default": REPORTS},
            "platform": {"type": "path", "default": PLATFORM_FILE},
            "settings": {"type": "path", "default": SETTINGS},
            "drained": {"type": "path", "default": DRAINED_FACT},
        },
        supports_check_mode=True,
    )
    options = module.params
    releases = Releases(options["root"], options["reports"])
    backup = Backup(options["root"], options["settings"])
    try:
        found = find(releases, options["find"], options["configuration"], options["again"]) if options["find"] else ""
        content = backup.programs if options["back"] else ""
        changed = change(releases, backup, options, module.check_mode)
        gone = releases.prunable(options["keep"]) if options["keep"] is not None else []
        if not module.check_mode:
            releases.remove(gone)
        programs = releases.programs(programs_of(options["platform"]))
    except (OSError, ValueError, KeyError) as error:
        module.fail_json(msg=str(error))
    listed = dict.fromkeys([*releases.unpacked, *releases.record.bad])
    module.exit_json(
        changed=changed or bool(gone),
        current=releases.current,
        worked=releases.worked,
        previous=releases.previous,
        found=found,
        releases=[releases.facts(name) for name in listed],
        programs=programs,
        drained=os.path.exists(options["drained"]),
        content=content,
        unproven=backup.kept,
        removed=[str(folder) for folder in gone],
    )


def change(releases: Releases, backup: Backup, options: dict[str, Any], check: bool) -> bool:
    """Do what the options ask for, and return whether there was anything to do.

    Args:
        releases: the host's.
        backup: the settings to roll back to.
        options: the module's.
        check: change nothing.

    Raises:
        ValueError: the release that is to be current does not exist.
    """
    todo: list[Callable[[], None]] = []
    name, worked, bad = options["current"], options["worked"], options["bad"]
    if options["back"] and backup.kept:
        todo.append(backup.restore)
    elif name and options["trial"] and not (backup.folder / "settings").is_dir():
        todo.append(backup.keep)
    if name and name != releases.current:
        if name not in releases.unpacked:
            raise ValueError(f"there is no release {name} below {releases.folder}")
        todo.append(lambda: releases.switch(name))
    said = read_summary(options["summary"]) if options["summary"] else None
    known = releases.record.checked.get(name) == options["checked"]
    if options["checked"] and not (known and said in (None, releases.record.summaries.get(name))):
        todo.append(lambda: releases.mark_checked(name, options["checked"], said))
    if worked and (worked != releases.worked or worked in releases.record.bad):
        todo.append(lambda: releases.mark_worked(worked))
    marked, configuration = releases.record.bad.get(bad, {}), options["configuration"]
    if bad and (marked.get("reason"), marked.get("configuration")) != (options["reason"], configuration):
        todo.append(lambda: releases.mark_bad(bad, options["reason"], configuration))
    if backup.kept and (worked or options["back"] or (name and not options["trial"])):
        todo.append(backup.forget)  # last, so that an interrupted run can be repeated
    for step in todo if not check else []:
        step()
    return bool(todo)


if __name__ == "__main__":
    main()
