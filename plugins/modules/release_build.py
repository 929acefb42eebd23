# SPDX-License-Identifier: MIT
"""Build an application's release on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_build
short_description: Build an application and its packages as one release, on the controller
description:
  - Makes two archives, one of the packages in the application's lock file, one of the application with a small virtual
    environment that refers to the first. Both are named by what goes into them.
  - Run it with C(delegate_to=localhost). When the archives are in the cache it only computes the names.
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
    runtime: "{{ playbook_dir }}/../runtime"
    output: "{{ playbook_dir }}/../.cache/releases"
  delegate_to: localhost
  run_once: true
  become: false
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
deps_archive:
  description: Path of the packages' tar.gz, whose top folder is the deps_id.
  type: str
  returned: success
advice:
  description: What to do about the failure.
  type: str
  returned: failure
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.release import (
    ReleaseError,
    Request,
    build,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "source": {"type": "path", "required": True},
            "output": {"type": "path", "required": True},
            "kind": {"type": "str", "choices": ["app", "packages"], "default": "app"},
            "app": {"type": "str", "default": ""},
            "python_version": {"type": "str", "default": "3.13"},
            "platform": {"type": "str", "choices": ["x86_64", "aarch64"], "default": "x86_64"},
            "runtime": {"type": "path"},
            "install_root": {"type": "path", "default": "/opt/celery"},
            "uv": {"type": "path", "default": "uv"},
            "keep": {"type": "int", "default": 8},
        },
        required_if=[("kind", "app", ["app", "runtime"])],
        supports_check_mode=True,
    )
    given = dict(module.params)
    for name in ("source", "output", "runtime"):
        given[name] = Path(given[name]).resolve() if given[name] else None
    try:
        result = build(Request(**given))
    except ReleaseError as error:
        module.fail_json(msg=f"{error.message}\n{error.advice}".rstrip(), advice=error.advice)
    except OSError as error:
        module.fail_json(msg=f"The release was not built: {error}", advice="Check the disk and the folder's mode.")
    for note in result.warnings:
        module.warn(note)
    module.exit_json(
        changed=result.changed,
        release_id=result.release_id,
        deps_id=result.deps_id,
        release_archive=str(result.release_archive),
        deps_archive=str(result.deps_archive),
        warnings_list=result.warnings,
    )


if __name__ == "__main__":
    main()
