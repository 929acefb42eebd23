#!/usr/bin/python
"""Ansible module: releases unpacked and compiled on a host, beside what is there."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_unpack
short_description: Releases that M(celery_on_hosts.platform.release_build) built, unpacked on a host
description:
  - Ships the archives that a host does not have, unpacks them and compiles them. Each part is unpacked beside its place
    and renamed when it is whole. Nothing that runs is touched, and what is there is never written to.
  - A release that is marked bad on the host is refused.
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
  again:
    description: Take a release that is marked bad all the same.
    type: bool
    default: false
  unpack:
    description: Set by the action plugin once it has shipped the archives. They are removed afterwards.
    type: bool
    default: false
  background:
    description: Set by the action plugin for a job in the background. It gives way to what else wants the processor.
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
  description: The folders that were not there.
  returned: always
  type: list
  elements: str
current:
  description: The release that is current, by root. Empty where none is.
  returned: always
  type: dict
unproven:
  description: Whether settings or programs came after those that worked last, and were interrupted, by root.
  returned: always
  type: dict
  sample: {/opt/celery: false}
worked:
  description: The release that worked last, by root. Empty where none did.
  returned: always
  type: dict
"""

import contextlib
import fcntl
import glob
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule


def parts(release: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The folders that a release consists of, each with its archive: packages first."""
    yield os.path.join(release["root"], "deps", release["deps_id"]), release["deps_archive"]
    yield os.path.join(release["root"], "releases", release["release_id"]), release["release_archive"]


def current(root: str) -> str:
    """The id of the release that is current below a root, or nothing."""
    try:
        return os.path.basename(os.readlink(os.path.join(root, "current")))
    except OSError:
        return ""


# As module_utils/host_releases.py keeps it; with Mitogen a job in the background that imports it dies unheard.
def recorded(root: str) -> dict[str, Any]:
    """What is written down below a root of releases that worked, or are bad."""
    try:
        with open(os.path.join(root, "releases.json"), encoding="utf-8") as file:
            return dict(json.load(file))
    except (OSError, ValueError):
        return {"worked": [], "bad": {}}


def unpack(archive: str, place: str) -> None:
    """Unpack an archive whose top folder has the place's name, compile it, and put it in its place when it is whole.

    A deployment that was cut off may still be at it: it is waited for, and what it has done is not done again.

    Raises:
        OSError, subprocess.CalledProcessError: it could not be unpacked.
    """
    parent, name = os.path.split(place)
    os.makedirs(parent, mode=0o755, exist_ok=True)
    with locked(parent):
        if not os.path.isdir(place):
            for leftover in glob.glob(os.path.join(parent, ".new-*")):  # of one that was killed
                shutil.rmtree(leftover, ignore_errors=True)
            beside = tempfile.mkdtemp(dir=parent, prefix=".new-")
            try:
                fill(beside, name, archive, parent)
                os.rename(os.path.join(beside, name), place)
            finally:
                shutil.rmtree(beside, ignore_errors=True)
    os.unlink(archive)


def fill(beside: str, name: str, archive: str, parent: str) -> None:
    """Unpack and compile beside the place."""
    subprocess.run(["tar", "-xzf", archive, "-C", beside], check=True, capture_output=True, text=True)
    # Programs run as a user who cannot write here: what is not compiled now would be compiled anew at every start.
    # Files of a package that are no valid Python are that package's own business.
    # All cores for the packages; the code alone is compiled before they would have started.
    jobs = ["-j", "0"] if os.path.basename(parent) == "deps" else []
    where = ["-s", beside, "-p", parent, os.path.join(beside, name)]
    subprocess.run(["python3", "-m", "compileall", "-qq", *jobs, *where], check=False, capture_output=True)


@contextlib.contextmanager
def locked(folder: str) -> Iterator[None]:
    """Be the only one who works in a folder, of those who ask."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def main() -> None:
    """Entry point of the module."""
    texts = {name: {"type": "str", "required": True} for name in ("deps_id", "release_id")}
    paths = {name: {"type": "path", "required": True} for name in ("root", "deps_archive", "release_archive")}
    module = AnsibleModule(
        argument_spec={
            "releases": {"type": "list", "elements": "dict", "required": True, "options": texts | paths},
            "again": {"type": "bool", "default": False},
            "unpack": {"type": "bool", "default": False},
            "background": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    releases = module.params["releases"]
    records = {release["root"]: recorded(release["root"]) for release in releases}
    for release in releases:
        bad = records[release["root"]]["bad"].get(release["release_id"])
        if bad and not module.params["again"]:
            module.fail_json(
                msg=f"Release {release['release_id']} is marked bad since {bad['time']}: {bad['reason']}\n"
                "What to do: change the code, which makes another release, or try this one again with AGAIN=1 "
                "(celery_release_again: true)."
            )
    missing = {place: archive for release in releases for place, archive in parts(release) if not os.path.isdir(place)}
    answer: dict[str, Any] = {
        "changed": bool(missing),
        "missing": list(missing),
        "current": {root: current(root) for root in records},
        "unproven": {root: os.path.isdir(os.path.join(root, "before")) for root in records},
        "worked": {root: [{"release": ""}, *record["worked"]][-1]["release"] for root, record in records.items()},
    }
    if module.params["background"]:
        os.nice(5)
    if module.params["unpack"] and not module.check_mode:
        for place, archive in missing.items():
            try:
                unpack(archive, place)
            except subprocess.CalledProcessError as error:
                module.fail_json(msg=f"{archive} cannot be unpacked to {place}: {error.stderr.strip()}")
            except OSError as error:
                module.fail_json(msg=f"{archive} cannot be unpacked to {place}: {error}")
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
