# SPDX-License-Identifier: MIT
"""Mitogen's strategy, without what costs more than it brings."""

from __future__ import annotations

import gc
import sys
import types
from pathlib import Path
from typing import Any

import ansible.constants
import mitogen
import mitogen.core
import mitogen.imports
import mitogen.master
import mitogen.minify
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import filter_loader, test_loader
from ansible.template import Templar, trust_as_template
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.known_imports import KnownImports

# Of no use to what is replaced below, and a tenth of a second of Ansible's start: it brings all of ansible-galaxy.
_unused = types.ModuleType("ansible.collections.list")
sys.modules.setdefault("ansible.collections.list", _unused)

import ansible_mitogen.affinity  # noqa: E402
import ansible_mitogen.loaders  # noqa: E402
import ansible_mitogen.module_finder  # noqa: E402
import ansible_mitogen.planner  # noqa: E402
import ansible_mitogen.strategy  # noqa: E402

if sys.modules["ansible.collections.list"] is _unused:
    del sys.modules["ansible.collections.list"]

DOCUMENTATION = r"""
name: linear
short_description: Runs tasks as ansible.builtin.linear does, by Mitogen, in one Python process a host
description:
  - It looks at the collection that a task's module is of. Mitogen's own strategy imports all that are installed, in
    each task; the package C(ansible) has a hundred.
  - It sends its modules to the hosts as they are. Mitogen's own strategy tokenizes them first, to make them shorter,
    which costs the controller more than it saves on any network but the slowest.
  - It remembers what each source imports, in C(mitogen-imports) below Ansible's home, and sends that with it. Mitogen's
    own strategy compiles some 150 sources in every run to see it.
  - It leaves it to the kernel which core a process runs on. Mitogen's own strategy pins each, and with it all that a
    task starts on the controller, for good. Of two cores that leaves one to a build, and to a lab host for its life.
  - It loads Ansible's filters and tests before it makes a process for each task, and spares these the search of all
    that Ansible has loaded for garbage.
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
known = KnownImports(
    Path(ansible.constants.ANSIBLE_HOME) / "mitogen-imports" / ".".join(map(str, mitogen.__version__)),
    mitogen.imports.codeobj_imports,
)
mitogen.imports.codeobj_imports = known.of
mitogen.master.compile = ansible_mitogen.module_finder.compile = known.compile
ansible_mitogen.planner._load_collections = load_collection
mitogen.minify.minimize_source = mitogen.core.to_text
ansible_mitogen.affinity.policy = ansible_mitogen.affinity.Policy()

# A process is made for each task, as a copy of this one. What each would load for itself it finds loaded; and it does
# not search all of that for garbage, which would write to every page that both share.
for plugins in (filter_loader, test_loader):
    list(plugins.all())
filter_loader.get("celery_on_hosts.platform.env_file")
Templar(DataLoader(), {"a": [1]}).template(trust_as_template("{{ a | map('string') | join }}"))
gc.freeze()
gc.set_threshold(100_000)

Linear = ansible_mitogen.loaders.strategy_loader.get("linear", class_only=True)


class StrategyModule(ansible_mitogen.strategy.StrategyMixin, Linear):  # type: ignore[misc, valid-type]
    """What `strategy = celery_on_hosts.platform.linear` names."""
