"""Action plugin: ship the archives that a host lacks, then run the module of this name, which unpacks them."""

from __future__ import annotations

import os
from typing import Any

from ansible.plugins.action import ActionBase

MODULE = "celery_on_hosts.platform.release_unpack"


class ActionModule(ActionBase):
    """Ask the host which archives it lacks, and ship those. With ``async``, do not wait for unpacking."""

    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ship and unpack, and return what the module's documentation describes."""
        super().run(tmp, task_vars)
        releases = [dict(release) for release in self._task.args["releases"]]
        options = {name: value for name, value in self._task.args.items() if name != "releases"}
        asked: dict[str, Any] = self._execute_module(MODULE, {"releases": releases, **options}, task_vars=task_vars)
        if asked.get("failed") or not asked["missing"] or self._task.check_mode:
            return asked
        self._make_tmp_path()
        background = bool(self._task.async_val)
        try:
            for release in releases:
                for part, folder in (("deps", "deps"), ("release", "releases")):
                    if f"{release['root']}/{folder}/{release[f'{part}_id']}" in asked["missing"]:
                        archive = release[f"{part}_archive"]
                        there = self._connection._shell.join_path(
                            self._connection._shell.tmpdir, os.path.basename(archive)
                        )
                        release[f"{part}_archive"] = self._transfer_file(archive, there)
            arguments = {"releases": releases, "unpack": True, "background": background, **options}
            done: dict[str, Any] = self._execute_module(MODULE, arguments, task_vars=task_vars, wrap_async=background)
        finally:
            if not background:  # the job in the background still reads the archives
                self._remove_tmp_path(self._connection._shell.tmpdir)
        return done
