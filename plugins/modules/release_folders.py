#!/usr/bin/python
"""Ansible module: give a release the folders that its application writes, and make the static files of the web side."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_folders
short_description: Give a release the folders that its application writes, and make its static files
description:
  - A release belongs to root, so an application cannot write below its own folder. This module puts links there.
  - A path of O(state) becomes a link to the same path below O(data), which all releases share.
  - A folder of O(static) becomes a link to the same folder below C(static) of the release, beside the application,
    where nginx reads it. O(commands) fill these folders. Then the files belong to root, and are not changed again.
  - What the release ships at such a path is copied to the link's target, where it does not exist yet.
author: Celery on Hosts
options:
  root:
    description: The folder of the releases.
    type: path
    default: /opt/celery
  release:
    description: The release.
    type: str
    required: true
  data:
    description: The folder that all releases share.
    type: path
    required: true
  owner:
    description: Who runs the application, and the group of folders.
    type: str
    default: celery
  web_group:
    description: The group of nginx, which reads the folders of O(served).
    type: str
    default: www-data
  state:
    description: Paths in the application's folder that it writes, relative. A folder ends with C(/).
    type: list
    elements: str
    default: []
  served:
    description: Those folders of O(state) that nginx serves.
    type: list
    elements: str
    default: []
  static:
    description: Folders in the application's folder that belong to the release and that nginx serves, relative.
    type: list
    elements: str
    default: []
  commands:
    description: Commands that fill the folders of O(static). Nothing is made when left out.
    type: list
    elements: str
  runner:
    description: What runs a command, one element an argument.
    type: list
    elements: str
    default: []
  environment:
    description: Environment variables of the commands.
    type: dict
    default: {}
  configuration:
    description: The static files are made again when this changes.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Make the static files
  celery_on_hosts.platform.release_folders:
    release: 0123456789ab
    data: /var/lib/celery/data
    state: [media/, db.sqlite3]
    served: [media/]
    static: [staticfiles/]
    commands: [python -m django collectstatic --noinput]
    runner: [/usr/local/bin/celery-python, -m, celery_on_hosts.program]
"""

RETURN = r"""
done:
  description: What was done, a line for each path and command.
  returned: always
  type: list
  elements: str
"""

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.database_extensions import advice

MADE = ".static.json"  # beside `static`: with what the static files were made
SHOWN_LINES = 15  # of the output of a command that fails


class CommandFailed(Exception):
    """A command that did not end well; the message says which, and what it wrote."""


class Folders:
    """The folders of a release.

    Args:
        options: those of the module.
        check: change nothing.
    """

    def __init__(self, options: dict[str, Any], check: bool) -> None:
        self.options, self.check = options, check
        self.release = Path(options["root"], "releases", options["release"])
        self.application, self.static = self.release / "app", self.release / "static"
        self.data = Path(options["data"])
        self.done: list[str] = []

    def link_state(self) -> None:
        """Link the paths that all releases share."""
        served = {path.strip("/") for path in self.options["served"]}
        for path in self.options["state"]:
            name = path.strip("/")
            target = self.data / name
            group = self.options["web_group"] if name in served else self.options["owner"]
            if path.endswith("/"):
                self._make_folder(target, group, 0o2750)
            else:
                self._make_folder(target.parent, self.options["owner"], 0o2750)
            self._link(name, target)

    def link_static(self) -> None:
        """Link the folders that belong to the release."""
        for path in self.options["static"]:
            name = path.strip("/")
            self._make_folder(self.static / name, self.options["owner"], 0o755)
            self._link(name, self.static / name)

    def make_static(self) -> None:
        """Run the commands, and hand the files to root.

        Raises:
            CommandFailed: a command fails. The commands after it are not run.
        """
        wanted = {name: self.options[name] for name in ("static", "commands", "configuration")}
        record = self.release / MADE
        if not self.options["static"] or (record.is_file() and json.loads(record.read_text()) == wanted):
            return
        self.done += [f"ran {command}" for command in self.options["commands"]]
        self.done += [f"sealed {self.static}"]
        if self.check:
            return
        record.unlink(missing_ok=True)
        self._own(self.options["owner"], 0o755, 0o644, touch=False)
        for command in self.options["commands"]:
            self._run(command)
        self._own("root", 0o755, 0o644, touch=True)
        record.write_text(json.dumps(wanted))

    def _run(self, command: str) -> None:
        words = [*self.options["runner"], *shlex.split(command)]
        environment = os.environ | {name: str(value) for name, value in self.options["environment"].items()}
        done = subprocess.run(
            words, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode:
            output = done.stdout + done.stderr
            said = "\n  ".join(output.strip().splitlines()[-SHOWN_LINES:])
            hint = advice(output)
            raise CommandFailed(f"{command} ended with {done.returncode}:\n  {said}" + (f"\n{hint}" if hint else ""))

    def _make_folder(self, folder: Path, group: str, mode: int) -> None:
        """Make a folder with its parents; their owner may write there."""
        missing = [one for one in (folder, *folder.parents) if not one.exists()]
        if missing:
            self.done.append(f"made {folder}")
        for one in reversed(missing if not self.check else []):
            one.mkdir()
            shutil.chown(one, self.options["owner"], group)
            one.chmod(mode)
        if not missing and folder.is_relative_to(self.data) and folder != self.data and folder.group() != group:
            self.done.append(f"gave {folder} to the group {group}")
            if not self.check:
                shutil.chown(folder, None, group)
                folder.chmod(mode)

    def _link(self, name: str, target: Path) -> None:
        """Make a path of the application a link."""
        path = self.application / name
        if path.is_symlink() and path.readlink() == target:
            return
        self.done.append(f"linked {name} to {target}")
        if self.check:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            path.unlink()
        elif path.exists():
            self._copy_missing(path, target)
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        path.symlink_to(target)

    def _copy_missing(self, source: Path, target: Path) -> None:
        """Copy what a release ships, but for what exists."""
        if source.is_dir():
            if not target.exists():
                target.mkdir()
                shutil.chown(target, self.options["owner"], target.parent.group())
            for one in sorted(source.iterdir()):
                self._copy_missing(one, target / one.name)
        elif not target.exists():
            shutil.copyfile(source, target)
            shutil.chown(target, self.options["owner"], target.parent.group())

    def _own(self, owner: str, folders: int, files: int, *, touch: bool) -> None:
        """Set owner and modes below `static`; a browser tells the files of two releases apart by their time."""
        for top, _, names in os.walk(self.static):
            os.chown(top, *_ids(owner))
            os.chmod(top, folders)
            for name in names:
                path = os.path.join(top, name)
                os.chown(path, *_ids(owner), follow_symlinks=False)
                if not os.path.islink(path):
                    os.chmod(path, files)
                    if touch:
                        os.utime(path)


def _ids(owner: str) -> tuple[int, int]:
    """Return the ids of a user and of the user's group."""
    import pwd

    found = pwd.getpwnam(owner)
    return found.pw_uid, found.pw_gid


def main() -> None:
    """Run the module."""
    lists = ("state", "served", "static", "runner")
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "default": "/opt/celery"},
            "release": {"type": "str", "required": True},
            "data": {"type": "path", "required": True},
            "owner": {"type": "str", "default": "celery"},
            "web_group": {"type": "str", "default": "www-data"},
            **{name: {"type": "list", "elements": "str", "default": []} for name in lists},
            "commands": {"type": "list", "elements": "str"},
            "environment": {"type": "dict", "default": {}},
            "configuration": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    folders = Folders(module.params, module.check_mode)
    try:
        folders.link_state()
        folders.link_static()
        if module.params["commands"] is not None:
            folders.make_static()
    except CommandFailed as error:
        module.fail_json(msg=str(error))
    except (OSError, LookupError) as error:
        module.fail_json(msg=f"the folders of release {module.params['release']}: {error}")
    module.exit_json(changed=bool(folders.done), done=folders.done)


if __name__ == "__main__":
    main()
