# SPDX-License-Identifier: MIT
"""Ansible strategy: Mitogen's, without the parts that cost more time than they save."""

from __future__ import annotations

from ansible.plugins.loader import strategy_loader
from ansible.utils.display import Display
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils import mitogen_internals

DOCUMENTATION = r"""
name: linear
short_description: Runs tasks as ansible.builtin.linear does, by Mitogen, in one Python process a host
description:
  - It looks at the collection of a task's module only. Mitogen's own strategy imports all installed collections in each
    task; the package C(ansible) has a hundred.
  - It sends modules to the hosts as they are. Mitogen's own strategy tokenizes and shortens them first, which saves
    time on very slow networks only.
  - It remembers what each source imports, in C(mitogen-imports) below Ansible's home. Mitogen's own strategy compiles
    some 150 sources in every run to find that.
  - The kernel chooses the core of each process. Mitogen's own strategy pins processes to cores, and with them whatever
    a task starts on the controller. On two cores, a build and a lab host would use only one.
  - It loads Ansible's filters and tests before Ansible forks a process for each task, and excludes what is loaded from
    garbage collection in these processes.
  - With a version of Mitogen or ansible-core that this platform was not tested with, or without Mitogen, it warns and
    is P(ansible.builtin.linear#strategy).
author:
  - Celery on Hosts
"""


def choose() -> type:
    """Return Mitogen's strategy, or Ansible's own with a warning that says why."""
    reason = mitogen_internals.unfit()
    if not reason:
        return mitogen_internals.strategy()
    Display().warning(
        f"{reason}. Tasks are run by Ansible's own strategy `linear`: the same result, several times slower. "
        "What to do: `make setup` installs the versions that were tested; elsewhere install them, or set "
        "`strategy = linear` in ansible.cfg to silence this."
    )
    own: type = strategy_loader.get("linear", class_only=True)
    return own


StrategyModule = choose()
