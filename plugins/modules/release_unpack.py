#!/usr/bin/python
"""Ansible module: unpack and compile releases beside the ones that a host has."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_unpack
short_description: Unpack releases that M(celery_on_hosts.platform.release_build) built
description:
  - Ships the archives that a host does not have, unpacks them and compiles them. Each archive is unpacked into a
    temporary folder, which is renamed when it is complete. Running programs and existing folders are not touched.
  - A release that is marked bad on the host, with the same configuration, is refused.
options:
  releases:
    description: What to unpack.
    type: list
    elements: dict
    required: true
    suboptions:
      root:
        description: Where releases live on the host.
        type: path
        required: true
      deps_id:
        description: What M(celery_on_hosts.platform.release_build) returned.
        type: str
        required: true
      release_id:
        description: What M(celery_on_hosts.platform.release_build) returned.
        type: str
        required: true
      deps_archive:
        description: The path on the controller.
        type: path
        required: true
      release_archive:
        description: The path on the controller.
        type: path
        required: true
      group:
        description:
          - The group that may read the packages and the application's files, beside root. Everybody may when left out.
        type: str
        default: ""
  configuration:
    description: A digest of the settings that the releases run with.
    type: str
    default: ""
  again:
    description: Accept a release that is marked bad.
    type: bool
    default: false
  unpack:
    description: Set by the action plugin once it has shipped the archives. They are removed afterwards.
    type: bool
    default: false
  background:
    description: Set by the action plugin for a job in the background, which runs with a lower priority.
    type: bool
    default: false
author:
  - Celery on Hosts
"""

EXAMPLES = r"""
- name: Unpack the release
  celery_on_hosts.platform.release_unpack:
    releases:
      - root: /opt/celery
        deps_id: "{{ build.deps_id }}"
        release_id: "{{ build.release_id }}"
        deps_archive: "{{ build.deps_archive }}"
        release_archive: "{{ build.release_archive }}"
"""

RETURN = r"""
missing:
  description: The folders that did not exist.
  returned: always
  type: list
  elements: str
current:
  description: The release that is current, by root. Empty where none is.
  returned: always
  type: dict
unproven:
  description: Whether a candidate release or candidate settings were left unproven by an interrupted run, by root.
  returned: always
  type: dict
  sample: {/opt/celery: false}
worked:
  description: The release that worked last, by root. Empty where none did.
  returned: always
  type: dict
summary:
  description: What the last check of the release said, by root. Empty where it was not checked.
  returned: always
  type: dict
"""

import contextlib
import fcntl
import glob
import grp
import json
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule

CLOSED = 0o750


def parts(release: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the folders of a release with their archives, packages first."""
    yield os.path.join(release["root"], "deps", release["deps_id"]), release["deps_archive"]
    yield os.path.join(release["root"], "releases", release["release_id"]), release["release_archive"]


def closed(place: str) -> str:
    """Return the folder of packages or of a release that only its group may enter."""
    application = os.path.join(place, "app")
    return application if os.path.basename(os.path.dirname(place)) == "releases" else place


def close(folder: str, group: str) -> None:
    """Let root and a group enter a folder, and nobody else.

    Raises:
        LookupError: there is no such group.
    """
    shutil.chown(folder, "root", group)
    os.chmod(folder, CLOSED)


def is_open(folder: str, group: str) -> bool:
    """Return whether a folder exists that others than root and a group may enter."""
    try:
        info = os.stat(folder)
        return stat.S_IMODE(info.st_mode) != CLOSED or info.st_gid != grp.getgrnam(group).gr_gid
    except (FileNotFoundError, KeyError):
        return False


def current(root: str) -> str:
    """Return the id of the release that is current below a root, empty where none is."""
    try:
        return os.path.basename(os.readlink(os.path.join(root, "current")))
    except OSError:
        return ""


# A copy of what module_utils/host_releases.py reads: with Mitogen, a job in the background that imports a module_utils
# dies without a message. The same holds for `locked`, of module_utils/locks.py.
def recorded(root: str) -> dict[str, Any]:
    """Return what releases.json below a root records of releases that worked or are bad."""
    try:
        with open(os.path.join(root, "releases.json"), encoding="utf-8") as file:
            return dict(json.load(file))
    except (OSError, ValueError):
        return {"worked": [], "bad": {}}


def unpack(archive: str, place: str, group: str = "") -> None:
    """Unpack an archive, compile its files, and rename its folder to `place` when the folder is complete.

    A job of an interrupted deployment may still be unpacking the same archive. Wait for it, and use its result.

    Args:
        archive: a tar.gz whose top folder has the name of `place`. It is removed in the end.
        place: the folder.
        group: who may read it beside root; everybody when empty.

    Raises:
        LookupError: there is no such group.
        OSError, subprocess.CalledProcessError: the archive cannot be unpacked.
    """
    parent, name = os.path.split(place)
    os.makedirs(parent, mode=0o755, exist_ok=True)
    with locked(parent):
        if not os.path.isdir(place):
            for leftover in glob.glob(os.path.join(parent, ".new-*")):  # left by a job that was killed
                shutil.rmtree(leftover, ignore_errors=True)
            beside = tempfile.mkdtemp(dir=parent, prefix=".new-")
            try:
                fill(beside, name, archive, parent)
                inside = closed(place).replace(parent, beside, 1)
                if group and os.path.isdir(inside):
                    close(inside, group)
                os.rename(os.path.join(beside, name), place)
            finally:
                shutil.rmtree(beside, ignore_errors=True)
    os.unlink(archive)


def fill(beside: str, name: str, archive: str, parent: str) -> None:
    """Unpack and compile into a temporary folder.

    Args:
        beside: the temporary folder.
        name: the archive's top folder.
        archive: the tar.gz.
        parent: the folder that will hold `name`. Tracebacks name it.
    """
    subprocess.run(["tar", "-xzf", archive, "-C", beside], check=True, capture_output=True, text=True)
    # Programs run as a user who cannot write here: a file that is not compiled now would be compiled at every start.
    # Files that are no valid Python are left to the package that brings them, so the exit code does not count.
    # Packages are compiled on all cores. The code is so small that starting more processes would take longer.
    jobs = ["-j", "0"] if os.path.basename(parent) == "deps" else []
    where = ["-s", beside, "-p", parent, os.path.join(beside, name)]
    subprocess.run(["python3", "-m", "compileall", "-qq", *jobs, *where], check=False, capture_output=True)


@contextlib.contextmanager
def locked(folder: str) -> Iterator[None]:
    """Hold the lock of a folder; others who ask for the lock wait."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def main() -> None:
    """Run the module."""
    texts = {name: {"type": "str", "required": True} for name in ("deps_id", "release_id")}
    paths = {name: {"type": "path", "required": True} for name in ("root", "deps_archive", "release_archive")}
    group = {"group": {"type": "str", "default": ""}}
    module = AnsibleModule(
        argument_spec={
            "releases": {"type": "list", "elements": "dict", "required": True, "options": texts | paths | group},
            "configuration": {"type": "str", "default": ""},
            "again": {"type": "bool", "default": False},
            "unpack": {"type": "bool", "default": False},
            "background": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    releases = module.params["releases"]
    records = {release["root"]: recorded(release["root"]) for release in releases}
    for release in releases:
        bad = records[release["root"]]["bad"].get(release["release_id"], {})
        with_these = bad.get("configuration", "") in ("", module.params["configuration"])
        if bad and with_these and not module.params["again"]:
            module.fail_json(
                msg=f"Release {release['release_id']} is marked bad since {bad['time']}: {bad['reason']}\n"
                "What to do: change the code, which makes another release, or the settings that the reason is about. "
                "AGAIN=1 (celery_release_again: true) tries both again as they are."
            )
    groups = {place: release["group"] for release in releases for place, _ in parts(release)}
    opened = [place for place, group in groups.items() if group and is_open(closed(place), group)]
    missing = {place: archive for release in releases for place, archive in parts(release) if not os.path.isdir(place)}
    answer: dict[str, Any] = {
        "changed": bool(missing or opened),
        "missing": list(missing),
        "current": {root: current(root) for root in records},
        "unproven": {root: os.path.isdir(os.path.join(root, "before")) for root in records},
        "summary": {
            release["root"]: records[release["root"]].get("summaries", {}).get(release["release_id"], {})
            for release in releases
        },
        "worked": {root: [{"release": ""}, *record["worked"]][-1]["release"] for root, record in records.items()},
    }
    if not module.check_mode:
        for place in opened:  # unpacked before folders were closed
            close(closed(place), groups[place])
    if module.params["background"]:
        os.nice(5)
    if module.params["unpack"] and not module.check_mode:
        for place, archive in missing.items():
            try:
                unpack(archive, place, groups[place])
            except subprocess.CalledProcessError as error:
                module.fail_json(msg=f"{archive} cannot be unpacked to {place}: {error.stderr.strip()}")
            except (OSError, LookupError) as error:
                module.fail_json(msg=f"{archive} cannot be unpacked to {place}: {error}")
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
