"""Action plugin: build a release on the controller, in Ansible's own process."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.celery_on_hosts.platform.plugins.modules import release_build
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.build import build
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.request import ReleaseError, Request


class ActionModule(ActionBase):
    """Build in Ansible's own process: no second process, no connection, no C(delegate_to).

    The module of this name holds the documentation, and the options are read from there.
    """

    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Build the archives, or find them in the cache.

        Raises:
            AnsibleActionFail: the release cannot be built; the message says what to do.
        """
        result: dict[str, Any] = super().run(tmp, task_vars)
        options = yaml.safe_load(release_build.DOCUMENTATION)["options"]
        spec = {
            name: {key: option[key] for key in ("type", "required", "choices", "default") if key in option}
            for name, option in options.items()
        }
        _, given = self.validate_argument_spec(spec, required_if=[("kind", "app", ["app", "runtime"])])
        given |= {name: tuple(given[name] or ()) for name in ("extras", "include", "commands")}
        for name in ("source", "output", "runtime"):
            given[name] = Path(given[name]).resolve() if given[name] else None
        try:
            built = build(Request(**given))
        except ReleaseError as error:
            raise AnsibleActionFail(f"{error.message}\n{error.advice}".rstrip()) from None  # Ansible would add it again
        except OSError as error:
            raise AnsibleActionFail(
                f"The release was not built: {error}. Check the disk and the folder's mode."
            ) from None
        said = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(built).items()}
        return result | said
