# SPDX-License-Identifier: MIT
"""Mitogen's strategy, without what costs more than it brings."""

from __future__ import annotations

from typing import Any

import ansible_mitogen.affinity
import ansible_mitogen.loaders
import ansible_mitogen.planner
import ansible_mitogen.strategy
import mitogen.core
import mitogen.minify

DOCUMENTATION = r"""
name: linear
short_description: Runs tasks as ansible.builtin.linear does, by Mitogen, in one Python process a host
description:
  - It looks at the collection that a task's module is of. Mitogen's own strategy imports all that are installed, in
    each task; the package C(ansible) has a hundred.
  - It sends its modules to the hosts as they are. Mitogen's own strategy tokenizes them first, to make them shorter,
    which costs the controller more than it saves on any network but the slowest.
  - It leaves it to the kernel which core a process runs on. Mitogen's own strategy pins each, and with it all that a
    task starts on the controller, for good. Of two cores that leaves one to a build, and to a lab host for its life.
author:
  - Celery on Hosts
"""

COLLECTIONS = "/ansible_collections/"


def load_collection(invocation: Any) -> None:
    """Have Mitogen find what the module of a task imports: in ``…/ansible_collections/NAMESPACE/NAME``."""
    parent, _, below = invocation.module_path.partition(COLLECTIONS)
    namespace, name = below.split("/")[:2]
    invocation._extra_sys_paths.add(f"{parent}{COLLECTIONS}{namespace}/{name}")


# Mitogen has no settings for these.
ansible_mitogen.planner._load_collections = load_collection
mitogen.minify.minimize_source = mitogen.core.to_text
ansible_mitogen.affinity.policy = ansible_mitogen.affinity.Policy()

Linear = ansible_mitogen.loaders.strategy_loader.get("linear", class_only=True)


class StrategyModule(ansible_mitogen.strategy.StrategyMixin, Linear):  # type: ignore[misc, valid-type]
    """What `strategy = celery_on_hosts.platform.linear` names."""
