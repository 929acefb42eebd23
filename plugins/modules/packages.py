#!/usr/bin/python
"""Ansible module: install Debian packages."""

from __future__ import annotations

DOCUMENTATION = r"""
module: packages
short_description: Install Debian packages
description:
  - Installs packages that are missing, without those that they recommend, and upgrades none.
  - No service of theirs starts.
  - What M(ansible.builtin.apt) returns has the bytes that maintainer scripts print. PostgreSQL's speak the host's
    language, and what is not UTF-8 cannot be sent to the controller. This module returns text.
  - The installation goes on when the deployment is cut off: an interrupted dpkg would have to be repaired by hand.
  - Waits while another apt holds a lock, and says for whom it waited.
  - Says which held or pinned package, or interrupted installation, is in the way, and what to do.
options:
  packages:
    description: What to install.
    type: list
    elements: str
    required: true
  proxy:
    description: A URL that apt fetches through. Otherwise apt does as the host says.
    type: str
    default: ""
  timeout:
    description: Seconds to wait for another apt.
    type: int
    default: 600
  policy:
    description: The program that Debian's scripts ask whether a service may start.
    type: path
    default: /usr/sbin/policy-rc.d
author:
  - Celery on Hosts
"""

EXAMPLES = r"""
- name: Install
  celery_on_hosts.platform.packages:
    packages: [redis-server]
"""

RETURN = r"""
stdout:
  description: What apt said.
  returned: success
  type: str
waited:
  description: For whom the module waited and how long, empty where nobody was in the way.
  returned: success
  type: str
"""

import os
import re
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_on_hosts.platform.plugins.module_utils import apt

OURS = "#!/bin/sh\n# Celery on Hosts: no service starts while packages are installed.\nexit 101\n"
NOTHING = re.compile(r"(?m)^0 upgraded, 0 newly installed, 0 (?:downgraded, 0 )?to remove")
KEEP_FILES = ("-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold")
KEPT = ".before-celery"
# Puts the administrator's policy back when the command has ended, also when nobody waits for the command any more.
THEN_PUT_BACK = f"""policy=$1; shift; "$@"; status=$?
if [ -e "$policy{KEPT}" ]; then mv "$policy{KEPT}" "$policy"; else rm -f "$policy"; fi; exit $status"""
LINES = 20  # of apt's output, in a message


def keep_services_from_starting(policy: Path) -> None:
    """Keep Debian's scripts from starting services, and keep what an administrator has there.

    Args:
        policy: the program that they ask.
    """
    if os.path.lexists(policy) and not _is_ours(policy):
        policy.rename(f"{policy}{KEPT}")
    policy.write_text(OURS, encoding="utf-8")
    policy.chmod(0o755)


def _is_ours(policy: Path) -> bool:
    return policy.is_file() and policy.read_bytes() == OURS.encode()


def end_of(done: apt.Done) -> str:
    """Return the last lines of what apt said, errors last."""
    lines = [line.rstrip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return "\n".join(f"  {line}" for line in lines[-LINES:])


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "packages": {"type": "list", "elements": "str", "required": True},
            "proxy": {"type": "str", "default": "", "no_log": True},
            "timeout": {"type": "int", "default": apt.LOCK_TIMEOUT},
            "policy": {"type": "path", "default": "/usr/sbin/policy-rc.d"},
        },
        supports_check_mode=True,
    )
    names, proxy = module.params["packages"], module.params["proxy"]
    install = ("install", "--yes", "--no-install-recommends", "--no-upgrade", *KEEP_FILES, *names)
    policy, waited = module.params["policy"], ""
    if module.check_mode:
        done = apt.apt_get("-s", *install, proxy=proxy)
    else:
        # A deployment that was cut off may still be installing, and its services may not start either.
        done, waited = apt.patiently(lambda: apt.apt_get("check"), module.params["timeout"])
        if not apt.BUSY.search(done.stderr):
            try:
                keep_services_from_starting(Path(policy))
            except OSError as error:
                module.fail_json(msg=f"{policy} cannot be written: {error.strerror}")
            before = ("sh", "-c", THEN_PUT_BACK, "sh", policy)
            # Yet another apt may have come since. apt waits for it.
            done = apt.apt_get(*apt.waiting(module.params["timeout"]), *install, proxy=proxy, before=before)
            waited = waited or apt.waited_for(done)
    if waited:
        module.warn(f"Waited for {waited}.")
    if done.returncode:
        lines = [f"apt cannot install {', '.join(names)}:", end_of(done)]
        lines += [f"Waited for {waited}.\nWhat to do: let it end, and deploy again."] if waited else []
        lines += apt.obstacles(names, done.stdout + done.stderr)
        if len(lines) == 2:
            lines.append("What to do: correct what apt complains of, and deploy again.")
        module.fail_json(msg="\n".join(lines))
    module.exit_json(changed=not NOTHING.search(done.stdout), stdout=done.stdout, waited=waited)


if __name__ == "__main__":
    main()
