#!/usr/bin/python
"""Ansible module: the releases of a host, which is current, and what each program runs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: releases
short_description: The releases of a host, which is current, and what each program runs
description:
  - Says which releases are unpacked, which worked, which are bad and why, and which one each program runs, as the
    processes themselves have it and not as the link C(current) says.
  - Makes one of them current, writes down whether it worked, and removes what nothing needs any more.
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
  again:
    description: Let O(find) choose a release that is marked bad.
    type: bool
    default: false
  current:
    description: Make this release current.
    type: str
    default: ""
  checked:
    description: Write down that the release O(current) was checked with this configuration.
    type: str
    default: ""
  worked:
    description: Write down that this release works. It is bad no more.
    type: str
    default: ""
  trial:
    description:
      - Keep the settings that are there, before O(current) is made current, until a release O(worked). Those that are
        kept already stay, for what came after them has not worked.
      - Without it, O(current) forgets what was kept.
    type: bool
    default: false
  back:
    description: Put back the settings that were kept, and return the programs' files.
    type: bool
    default: false
  bad:
    description: Write down that this release does not work.
    type: str
    default: ""
  reason:
    description: Why it is O(bad).
    type: str
    default: ""
  keep:
    description:
      - Remove releases and packages, but for this many of the releases that worked last, the current and the previous
        one, and all that a process runs. Nothing is removed when left out.
    type: int
  reports:
    description: The folder in which workers and beat say which release they run.
    type: path
    default: /run/celery
  platform:
    description: The file that says which programs there should be.
    type: path
    default: /etc/celery/platform.json
  settings:
    description: The folder of what the programs read when they start.
    type: path
    default: /etc/celery
  drained:
    description: The file that is there while the host's workers are out of service.
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
  description: What is known of each release that is unpacked, or bad.
  returned: always
  type: list
  elements: dict
  sample: [{release: 0123456789ab, built_from: 1a2b3c4, worked: "2026-01-31T12:00:00Z", bad: "", checked: ""}]
programs:
  description: The release that each program runs, empty for one that does not run.
  returned: always
  type: dict
  sample: {celery: 0123456789ab, "celery (leaving)": ba9876543210}
drained:
  description: Whether the host's workers are out of service.
  returned: always
  type: bool
content:
  description: For O(back), the programs' files that M(celery_on_hosts.platform.supervisor_programs) kept; else empty.
  returned: always
  type: str
unproven:
  description: Whether anything is kept, for what came after it has not worked yet.
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
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.host_releases import Before, Releases


def programs_of(path: str) -> list[str]:
    """The application's programs of this host, as the deployment wrote them down."""
    try:
        with open(path, encoding="utf-8") as file:
            said = json.load(file)["programs"]
    except FileNotFoundError:
        return []
    return [one["program"] for one in said if one["kind"] in ("worker", "beat", "web")]


def find(releases: Releases, wanted: str, again: bool) -> str:
    """The id of the release that is asked for. Raises ValueError with what there is."""
    there = releases.there
    known = f"There are: {', '.join(there) or 'none'} (`make releases`)."
    name = {"previous": releases.previous, "current": releases.current}.get(wanted, wanted)
    if not name:
        raise ValueError(f"This host has no {wanted} release. {known}")
    if name not in there:
        raise ValueError(f"This host has no release {name}. {known}")
    bad = releases.record.bad.get(name)
    if bad and not again:
        raise ValueError(f"Release {name} is marked bad since {bad['time']}: {bad['reason']}\n{known}")
    return name


def main() -> None:
    """Entry point of the module."""
    texts = ("find", "current", "checked", "worked", "bad", "reason")
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "default": "/opt/celery"},
            **{name: {"type": "str", "default": ""} for name in texts},
            **{name: {"type": "bool", "default": False} for name in ("again", "trial", "back")},
            "keep": {"type": "int"},
            "reports": {"type": "path", "default": "/run/celery"},
            "platform": {"type": "path", "default": "/etc/celery/platform.json"},
            "settings": {"type": "path", "default": "/etc/celery"},
            "drained": {"type": "path", "default": "/etc/ansible/facts.d/celery.fact"},
        },
        supports_check_mode=True,
    )
    options = module.params
    releases = Releases(options["root"], options["reports"])
    before = Before(options["root"], options["settings"])
    try:
        found = find(releases, options["find"], options["again"]) if options["find"] else ""
        content = before.programs if options["back"] else ""
        changed = change(releases, before, options, module.check_mode)
        gone = releases.prunable(options["keep"]) if options["keep"] is not None else []
        if not module.check_mode:
            releases.remove(gone)
        programs = releases.programs(programs_of(options["platform"]))
    except (OSError, ValueError, KeyError) as error:
        module.fail_json(msg=str(error))
    listed = dict.fromkeys([*releases.there, *releases.record.bad])
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
        unproven=before.kept,
        removed=[str(folder) for folder in gone],
    )


def change(releases: Releases, before: Before, options: dict[str, Any], check: bool) -> bool:
    """Do what is asked for, and say whether anything was to be done."""
    todo: list[Callable[[], None]] = []
    name, worked, bad = options["current"], options["worked"], options["bad"]
    if options["back"] and before.kept:
        todo.append(before.restore)
    elif name and options["trial"] and not (before.folder / "settings").is_dir():
        todo.append(before.keep)
    if name and name != releases.current:
        if name not in releases.there:
            raise ValueError(f"there is no release {name} below {releases.folder}")
        todo.append(lambda: releases.switch(name))
    if options["checked"] and releases.record.checked.get(name) != options["checked"]:
        todo.append(lambda: releases.mark_checked(name, options["checked"]))
    if worked and (worked != releases.worked or worked in releases.record.bad):
        todo.append(lambda: releases.mark_worked(worked))
    if bad and releases.record.bad.get(bad, {}).get("reason") != options["reason"]:
        todo.append(lambda: releases.mark_bad(bad, options["reason"]))
    if before.kept and (worked or options["back"] or (name and not options["trial"])):
        todo.append(before.forget)  # last: one that is interrupted can be done again
    for step in todo if not check else []:
        step()
    return bool(todo)


if __name__ == "__main__":
    main()
