"""Run a module of the collection in this process, as Ansible would on a host."""

from __future__ import annotations

import json
from contextlib import redirect_stdout, suppress
from importlib import import_module
from io import StringIO
from typing import Any

from tests.unit import rendering  # noqa: F401  # finds the collection

from ansible.module_utils.testing import patch_module_args  # isort: skip


def run_module(name: str, *, check: bool = False, **arguments: Any) -> dict[str, Any]:
    """Run a module and return its result, with ``failed`` and ``msg`` when it failed.

    Args:
        name: the module's name in the collection.
        check: whether to run in check mode.
        arguments: the module's arguments.
    """
    module = import_module(f"ansible_collections.celery_on_hosts.platform.plugins.modules.{name}")
    said = StringIO()
    given = arguments | {"_ansible_check_mode": check, "_ansible_diff": True}
    with patch_module_args(given), redirect_stdout(said), suppress(SystemExit):
        module.main()
    return dict(json.loads(said.getvalue()))
