# SPDX-License-Identifier: MIT
"""Documentation of the action plugin of this name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_build
short_description: Build an application and its packages as one release, on the controller
description:
  - Makes two archives, one of the packages in the application's lock file, one of the application with a small virtual
    environment that refers to the first. Both are named by what goes into them.
  - Runs on the controller alone. When the archives are in the cache it only computes the names.
  - Only the cache on the controller is written, so it builds in check mode too, and a dry run finds the archives.
author: Celery on Hosts
options:
  source:
    description:
      - The application's folder, with one of C(requirements.lock), C(pylock.toml), C(uv.lock), C(requirements.txt).
      - With O(kind=packages) a lock file.
    type: path
    required: true
  output:
    description: The cache for archives on the controller.
    type: path
    required: true
  kind:
    description: An application with its packages, or packages alone.
    type: str
    choices: [app, packages]
    default: app
  app:
    description: What C(celery -A) takes. Required with O(kind=app).
    type: str
    default: ""
  lock:
    description: The application's lock, relative to O(source). Found by its usual names when left out.
    type: str
    default: ""
  extras:
    description: Names of the application's extras and dependency groups to install too. They need a C(uv.lock).
    type: list
    elements: str
    default: []
  include:
    description: Files, folders and patterns below O(source) that ship although git ignores them.
    type: list
    elements: str
    default: []
  commands:
    description: The release commands. A command whose program the release does not have is refused.
    type: list
    elements: str
    default: []
  python_version:
    description: The hosts' Python.
    type: str
    default: "3.13"
  platform:
    description: The hosts' kind of machine.
    type: str
    choices: [x86_64, aarch64]
    default: x86_64
  runtime:
    description: The folder of the package C(celery_on_hosts), with the C(requirements.lock) of what it needs.
    type: path
  install_root:
    description: Where the hosts keep releases.
    type: path
    default: /opt/celery
  uv:
    description: The program uv.
    type: path
    default: uv
  keep:
    description: How many archives of each layer the cache keeps, beside those used within the last hour.
    type: int
    default: 8
"""

EXAMPLES = r"""
- name: Build the release
  celery_on_hosts.platform.release_build:
    source: "{{ celery_app_source }}"
    app: "{{ celery_app }}"
    python_version: "3.13"
    runtime: "{{ role_path }}/../../runtime"
    output: "{{ celery_build_dir }}"
  run_once: true
  register: release
"""

RETURN = r"""
release_id:
  description: Names the release by its content.
  type: str
  returned: success
deps_id:
  description: Names the packages by their inputs.
  type: str
  returned: success
release_archive:
  description: Path of the release's tar.gz, whose top folder is the release_id.
  type: str
  returned: success
left_out:
  description: What of the application's folder is not in the release, caches and the like not counted.
  type: list
  elements: str
  returned: success
deps_archive:
  description: Path of the packages' tar.gz, whose top folder is the deps_id.
  type: str
  returned: success
"""
