#!/usr/bin/python
"""Ansible module: refresh apt's lists, and check that some packages can be installed."""

from __future__ import annotations

DOCUMENTATION = r"""
module: apt_lists
short_description: Refresh apt's lists, and check that packages can be installed
description:
  - Refreshes apt's lists. A source that cannot be refreshed is a warning with its file and line, as long as the
    packages can be installed from the other sources.
  - Simulates the installation, which finds held and pinned packages, and packages that no source has. Nothing is
    installed.
  - Waits while another apt holds the lock of the lists.
options:
  packages:
    description: The packages that are to be installed.
    type: list
    elements: str
    required: true
  application:
    description: Those that C(celery_packages) names. A name that apt does not have is the variable's.
    type: list
    elements: str
    default: []
  proxy:
    description: A URL that apt fetches through. Otherwise apt does as the host says.
    type: str
    default: ""
  timeout:
    description: Seconds to wait for another apt.
    type: int
    default: 600
author:
  - Celery on Hosts
"""

EXAMPLES = r"""
- name: Refresh apt's lists
  celery_on_hosts.platform.apt_lists:
    packages: [redis-server]
"""

RETURN = r"""
problems:
  description: What could not be refreshed, each with the file and line of the source where that was found.
  returned: always
  type: list
  elements: str
  sample:
    - "/etc/apt/sources.list.d/vendor.list:1: http://mirror.example.org/debian/dists/stable/InRelease Could not connect"
"""

import re
from collections.abc import Iterator
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_on_hosts.platform.plugins.module_utils import apt

GENERIC = re.compile(r"Some index files failed to download|Problem unlinking|Unable to read .*/apt\.conf\.d/")
URI = re.compile(r"[a-z+]+:/\S+")
# A source that does not answer must not hold up the deployment for minutes.
PATIENCE = ["-o", "Acquire::Retries=2", "-o", "Acquire::http::Timeout=20", "-o", "Acquire::https::Timeout=20"]


def sources() -> Iterator[tuple[str, str]]:
    """Return the URI of each of apt's sources, with the file and line that name it."""
    said = apt.configuration("Dir::Etc::sourcelist/f", "Dir::Etc::sourceparts/d")
    parts = Path(said["Dir::Etc::sourceparts/d"])
    for path in [Path(said["Dir::Etc::sourcelist/f"]), *sorted(parts.glob("*.list")), *sorted(parts.glob("*.sources"))]:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
        for number, line in enumerate(lines, 1):
            yield from ((uri, f"{path}:{number}") for uri in URI.findall(line.split("#", 1)[0]))


def problems(stderr: str) -> list[str]:
    """Return apt's errors and warnings, each after the file and line of the source that it is about.

    Args:
        stderr: what ``apt-get update`` said.
    """
    found = []
    known = sorted(sources(), key=lambda one: len(one[0]))
    for line in stderr.splitlines():
        text = line.removeprefix("W: ").removeprefix("E: ").removeprefix("Failed to fetch ")
        if text == line or GENERIC.search(text):
            continue
        uris = URI.findall(text.replace("'", " "))
        places = [place for uri, place in known if any(one.startswith(uri.rstrip("/")) for one in uris)]
        found.append(f"{places[-1]}: {' '.join(text.split())}" if places else " ".join(text.split()))
    return list(dict.fromkeys(found))


def unknown(stderr: str) -> list[str]:
    """Return the names of packages that apt does not have.

    Args:
        stderr: what a simulated installation said.
    """
    pattern = r"(?m)^E: (?:Unable to locate package (\S+)|Package '(\S+)' has no installation candidate)"
    return list(dict.fromkeys(one or other for one, other in re.findall(pattern, stderr)))


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "packages": {"type": "list", "elements": "str", "required": True},
            "application": {"type": "list", "elements": "str", "default": []},
            "proxy": {"type": "str", "default": "", "no_log": True},
            "timeout": {"type": "int", "default": apt.LOCK_TIMEOUT},
        },
        supports_check_mode=True,
    )
    proxy = module.params["proxy"]
    done, waited = apt.patiently(lambda: apt.apt_get("update", *PATIENCE, proxy=proxy), module.params["timeout"])
    if waited:
        module.warn(f"Waited for {waited}.")
    found = problems(done.stderr)
    # -s changes nothing and needs no lock. --yes refuses to change what is held, as the installation does.
    options = ("-s", "--yes", "--no-install-recommends", "--no-upgrade")
    trial = apt.apt_get("install", *options, *module.params["packages"])
    if trial.returncode:
        lines = [f"apt cannot install {', '.join(module.params['packages'])}:"]
        lines += [f"  {line}" for line in (trial.stdout + trial.stderr).splitlines() if line.startswith(("E: ", " "))]
        lines += ["apt could not refresh:", *(f"  {problem}" for problem in found)] if found else []
        wrong = [name for name in unknown(trial.stderr) if name in module.params["application"]]
        if wrong:
            lines.append(
                f"What to do: correct celery_packages, which names {', '.join(wrong)}. `apt-cache search WORD` on the "
                "host finds packages; names may differ between Debian's releases."
            )
            module.fail_json(msg="\n".join(lines), problems=found)
        if obstacles := apt.obstacles(module.params["packages"], trial.stdout + trial.stderr):
            module.fail_json(msg="\n".join([*lines, *obstacles]), problems=found)
        lines.append(
            "What to do: correct the named sources in /etc/apt, or the network of the host. "
            "`apt-cache policy PACKAGE` shows what a source has."
        )
        module.fail_json(msg="\n".join(lines), problems=found)
    for problem in found:
        module.warn(f"apt could not refresh a source of this host, and goes on without it. {problem}")
    module.exit_json(changed=False, problems=found)


if __name__ == "__main__":
    main()
