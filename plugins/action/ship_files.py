# SPDX-License-Identifier: MIT
"""Action plugin: ship the files that differ on a host, then run the module of this name, which replaces them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase

MODULE = "celery_on_hosts.platform.ship_files"


class ActionModule(ActionBase):
    """Ask the host which files differ, and ship those. The content is no argument of the module."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ship and replace, and return what the module's documentation describes."""
        super().run(tmp, task_vars)
        options = {key: value for key, value in self._task.args.items() if key != "files"}
        entries = [dict(entry) for entry in self._task.args.get("files", [])]
        for entry in entries:
            if entry.get("state", "file") == "file":
                with self._readable(entry) as path:
                    entry["sha256"] = _digest(path)
        asked: dict[str, Any] = self._execute_module(MODULE, {**options, "files": entries}, task_vars=task_vars)
        if asked.get("failed") or not asked["lacking"] or self._task.check_mode:
            return asked
        self._make_tmp_path()
        try:
            shipped = [entry for entry in entries if entry["dest"] in asked["lacking"]]
            for number, entry in enumerate(shipped):
                there = self._connection._shell.join_path(self._connection._shell.tmpdir, f"file{number}")
                with self._readable(entry) as path:
                    entry["staged"] = self._transfer_file(path, there)
            done: dict[str, Any] = self._execute_module(MODULE, {**options, "files": shipped}, task_vars=task_vars)
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        if done.get("failed"):
            return done
        files, diffs = (asked[key] + done[key] for key in ("files", "diff"))
        return {**done, "changed": True, "files": files, "diff": diffs}

    @contextmanager
    def _readable(self, entry: Mapping[str, Any]) -> Iterator[str]:
        """Give the path of a file's content: of a copy where the file is encrypted by ansible-vault."""
        source = str(entry["src"])
        try:
            path = str(self._loader.get_real_file(source))
        except AnsibleError as error:
            raise AnsibleActionFail(f"{source}, for {entry['dest']}, cannot be read: {error}") from None
        try:
            yield path
        finally:
            if path != os.path.realpath(source):
                self._loader.cleanup_tmp_file(path)


def _digest(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
