# SPDX-License-Identifier: MIT
"""Replace internals of Mitogen, and prepare Ansible's process for its forks. Mitogen has no settings for either.

Everything that depends on Mitogen's inside is in this file. `unfit` compares the installed versions with `TESTED`, and
the inside with `NEEDED`; the strategy ``linear`` calls `strategy` only where both fit. To accept another version, run
``make unit`` and a deployment with it, compare ``bench/deploy`` with the version before, and add it to `TESTED`.

Each replacement can go when Mitogen has the same by itself:

* `load_collection`: when a task's paths are those of its module's collection, not of all that are installed.
* `KnownImports` and `compile`: when Mitogen remembers what a source imports from run to run.
* `mitogen.minify.minimize_source`: when minifying can be switched off.
* `ansible_mitogen.affinity.policy`: when pinning to cores can be switched off.
"""

from __future__ import annotations

import gc
import importlib
import inspect
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import ansible.constants
import ansible.release
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import filter_loader, strategy_loader, test_loader
from ansible.template import Templar, trust_as_template
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.known_imports import KnownImports

TESTED = {"mitogen": ("0.3.54",), "ansible-core": ("2.19",)}  # exact releases of Mitogen, series of ansible-core
COLLECTIONS = "/ansible_collections/"


class Internal(NamedTuple):
    """A name inside Mitogen that is replaced, or that a replacement relies on.

    Args:
        module: where it is.
        name: its name there.
        parameters: those of a function; None where it is none.
    """

    module: str
    name: str
    parameters: tuple[str, ...] | None = None


NEEDED = (
    Internal("mitogen.imports", "codeobj_imports", ("co",)),
    Internal("mitogen.minify", "minimize_source", ("source",)),
    Internal("mitogen.core", "to_text"),
    Internal("mitogen.master", "ModuleFinder"),
    Internal("ansible_mitogen.module_finder", "scan_fromlist", ("code",)),
    Internal("ansible_mitogen.planner", "_load_collections", ("invocation",)),
    Internal("ansible_mitogen.affinity", "policy"),
    Internal("ansible_mitogen.affinity", "Policy"),
    Internal("ansible_mitogen.strategy", "StrategyMixin"),
)


def unfit(versions: dict[str, str] | None = None) -> str:
    """Return why Mitogen's internals are not to be replaced, empty where they may be.

    Args:
        versions: of ``mitogen`` and ``ansible-core``; those that are installed when left out.
    """
    try:
        found = versions or installed()
        for name, tested in TESTED.items():
            if not any(f"{found[name]}.".startswith(f"{one}.") for one in tested):
                return f"{name} {found[name]} was not tested with this platform (tested: {', '.join(tested)})"
        with _without_galaxy():
            missing = [f"{one.module}.{one.name}" for one in NEEDED if not _fits(one)]
    except ImportError as error:
        return f"Mitogen cannot be imported ({error})"
    except AnsibleError as error:
        return f"Mitogen refuses this Ansible ({error})"
    return f"Mitogen has changed inside: {', '.join(missing)} is not what was replaced so far" if missing else ""


def installed() -> dict[str, str]:
    """Return the versions of Mitogen and of ansible-core.

    Raises:
        ImportError: there is no Mitogen.
    """
    import mitogen

    return {"mitogen": ".".join(map(str, mitogen.__version__)), "ansible-core": ansible.release.__version__}


def _fits(one: Internal) -> bool:
    """Return whether Mitogen has an internal in the shape that is needed."""
    found = getattr(importlib.import_module(one.module), one.name, None)
    if found is None or one.parameters is None:
        return found is not None
    return callable(found) and tuple(inspect.signature(found).parameters) == one.parameters


@contextmanager
def _without_galaxy() -> Iterator[None]:
    """Keep Mitogen from importing all of ansible-galaxy: a tenth of a second, for what `load_collection` replaces."""
    name = "ansible.collections.list"
    empty = types.ModuleType(name)
    used = sys.modules.setdefault(name, empty)
    try:
        yield
    finally:
        if used is empty:
            del sys.modules[name]


def strategy() -> type:
    """Replace Mitogen's internals and return its strategy. `unfit` has to be empty."""
    _replace()
    _prepare_forks()
    import ansible_mitogen.strategy

    linear: type = strategy_loader.get("linear", class_only=True)
    return type("StrategyModule", (ansible_mitogen.strategy.StrategyMixin, linear), {})


def _replace() -> None:
    import ansible_mitogen.affinity
    import ansible_mitogen.module_finder
    import ansible_mitogen.planner
    import mitogen.core
    import mitogen.imports
    import mitogen.master
    import mitogen.minify

    folder = Path(ansible.constants.ANSIBLE_HOME) / "mitogen-imports" / installed()["mitogen"]
    known = KnownImports(folder, mitogen.imports.codeobj_imports)
    mitogen.imports.codeobj_imports = known.of
    mitogen.master.compile = ansible_mitogen.module_finder.compile = known.compile
    ansible_mitogen.planner._load_collections = load_collection
    mitogen.minify.minimize_source = mitogen.core.to_text
    ansible_mitogen.affinity.policy = ansible_mitogen.affinity.Policy()


def load_collection(invocation: Any) -> None:
    """Have Mitogen find what the module of a task imports: in ``…/ansible_collections/NAMESPACE/NAME``."""
    parent, _, below = invocation.module_path.partition(COLLECTIONS)
    namespace, name = below.split("/")[:2]
    invocation._extra_sys_paths.add(f"{parent}{COLLECTIONS}{namespace}/{name}")


def _prepare_forks() -> None:
    """Load what every task needs, and keep the garbage collector away from it.

    Ansible forks a process for each task. What this process has loaded, the forks need not load. Their garbage
    collector would write to every page that they share with this process, and so copy it.
    """
    for plugins in (filter_loader, test_loader):
        list(plugins.all())
    filter_loader.get("celery_on_hosts.platform.env_file")
    Templar(DataLoader(), {"a": [1]}).template(trust_as_template("{{ a | map('string') | join }}"))
    gc.freeze()
    gc.set_threshold(100_000)
