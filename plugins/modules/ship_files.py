#!/usr/bin/python
"""Ansible module: compare and replace files whose content comes from the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ship_files
short_description: Ship secret or large files from the controller
description:
  - Compares files of a host with files of the controller, ships the files that differ, and replaces each as a whole.
  - The content is never an argument, and neither logs nor diffs show the content, so that files may be secret, large or
    binary. A file that C(ansible-vault) has encrypted is shipped decrypted.
  - One round trip when there is nothing to do.
options:
  files:
    description: What should be there.
    type: list
    elements: dict
    default: []
    suboptions:
      src:
        description: The path on the controller.
        type: path
      dest:
        description: The absolute path on the host. Folders that do not exist are made for everybody to enter.
        type: path
        required: true
      state:
        description: V(absent) removes the file.
        type: str
        choices: [file, absent]
        default: file
      owner:
        description: Name of the owner.
        type: str
        default: root
      group:
        description: Name of the group.
        type: str
        default: root
      mode:
        description: Octal mode.
        type: str
        default: "0640"
      sha256:
        description: Set by the action plugin. The digest of the content.
        type: str
      staged:
        description: Set by the action plugin once it has shipped the content. The path on the host.
        type: path
  keep:
    description:
      - A folder of the host. Before a file is replaced, keep the file there, as it was. A file that is already kept is
        not replaced, because the one after it has not proved itself. Nothing is kept when left out.
    type: path
  restore:
    description: Put back what O(keep) has, and remove it from there. O(files) is ignored.
    type: bool
    default: false
author:
  - Celery on Hosts
"""

EXAMPLES = r"""
- name: Ship the application's certificate
  celery_on_hosts.platform.ship_files:
    files:
      - src: /home/me/secrets/client.pem
        dest: /srv/shop/client.pem
        group: celery
"""

RETURN = r"""
files:
  description: The paths that changed (in check mode, that would change).
  returned: always
  type: list
  elements: str
lacking:
  description: The paths whose content has to be shipped.
  returned: always
  type: list
  elements: str
"""

import grp
import hashlib
import os
import pwd
import shutil
import stat
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_on_hosts.platform.plugins.module_utils import atomic
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.files import SilentModule
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.kept_files import KeptFiles

ARGUMENT_SPEC: dict[str, Any] = {
    "src": {"type": "path"},
    "dest": {"type": "path", "required": True},
    "state": {"type": "str", "choices": ["file", "absent"], "default": "file"},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
    "mode": {"type": "str", "default": "0640"},
    "sha256": {"type": "str", "no_log": True},  # tells something of a secret that is easy to guess
    "staged": {"type": "path"},
}


def found(path: str) -> dict[str, str]:
    """Return what is at a path: state, owner, group, mode and the digest of the content."""
    try:
        info = os.lstat(path)
    except FileNotFoundError:
        return {"state": "absent"}
    if not stat.S_ISREG(info.st_mode):
        return {"state": "directory" if stat.S_ISDIR(info.st_mode) else "other"}
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    said = {"state": "file", "owner": str(info.st_uid), "group": str(info.st_gid)}
    for key, lookup, number in (("owner", pwd.getpwuid, info.st_uid), ("group", grp.getgrgid, info.st_gid)):
        try:
            said[key] = str(lookup(number)[0])
        except KeyError:
            continue
    return {**said, "mode": f"{stat.S_IMODE(info.st_mode):04o}", "sha256": digest.hexdigest()}


def wanted(entry: Mapping[str, Any]) -> dict[str, str]:
    """Return what should be at a path, in the words of `found`."""
    if entry["state"] == "absent":
        return {"state": "absent"}
    mode = f"{int(entry['mode'], 8):04o}"
    return {"state": "file", **{key: entry[key] for key in ("owner", "group", "sha256")}, "mode": mode}


def write(entry: Mapping[str, Any], before: Mapping[str, str]) -> None:
    """Make a path what its entry says.

    Raises:
        OSError: the path cannot be changed.
        KeyError: the owner or the group is unknown.
    """
    dest = entry["dest"]
    if entry["state"] == "absent":
        os.unlink(dest)
        return
    owner = pwd.getpwnam(entry["owner"]).pw_uid, grp.getgrnam(entry["group"]).gr_gid
    mode = int(entry["mode"], 8)
    if before.get("sha256") == entry["sha256"]:
        os.chown(dest, *owner)
        os.chmod(dest, mode)
        return
    os.makedirs(os.path.dirname(dest), mode=0o755, exist_ok=True)
    with open(entry["staged"], "rb") as source, atomic.replacing(dest, mode=mode, owner=owner, sync=True) as target:
        shutil.copyfileobj(source, target, 1 << 20)


def words(said: Mapping[str, str], other: Mapping[str, str]) -> str:
    """Return what differs of one side of a diff. Of the content, the beginning of the digest is shown."""
    shown = {key: value[:8] if key == "sha256" else value for key, value in said.items() if other.get(key) != value}
    return "".join(f"{'content' if key == 'sha256' else key}: {value}\n" for key, value in sorted(shown.items()))


def restore(module: AnsibleModule, kept: KeptFiles) -> None:
    """Put kept files back, and end the module."""
    there = kept.folder.is_dir()
    try:
        if there and not module.check_mode:
            kept.restore()
            kept.forget()
    except OSError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=there, files=[], lacking=[])


def main() -> None:
    """Run the module."""
    module = SilentModule(
        argument_spec={
            "files": {"type": "list", "elements": "dict", "default": [], "options": ARGUMENT_SPEC},
            "keep": {"type": "path"},
            "restore": {"type": "bool", "default": False},
        },
        required_if=[("restore", True, ["keep"])],
        supports_check_mode=True,
    )
    kept = KeptFiles(module.params["keep"]) if module.params["keep"] else None
    if module.params["restore"] and kept:
        restore(module, kept)
    changed, lacking, diffs = [], [], []
    for entry in module.params["files"]:
        dest = entry["dest"]
        try:
            before, after = found(dest), wanted(entry)
            if before == after:
                continue
            if before["state"] not in ("file", "absent"):
                module.fail_json(
                    msg=f"{dest} is a {before['state']}, not a file. Remove {dest}, or choose another dest."
                )
            lacks = after["state"] == "file" and before.get("sha256") != after["sha256"] and not entry["staged"]
            if lacks:
                lacking.append(dest)
            if lacks and not module.check_mode:
                continue
            if not module.check_mode:
                if kept:
                    kept.keep(dest)
                write(entry, before)
        except (OSError, KeyError) as error:
            module.fail_json(msg=f"{dest}: {error}")
        changed.append(dest)
        titles = {"before_header": dest, "after_header": dest}
        diffs.append({**titles, "before": words(before, after), "after": words(after, before)})
    module.exit_json(changed=bool(changed), files=changed, lacking=lacking, diff=diffs)


if __name__ == "__main__":
    main()
