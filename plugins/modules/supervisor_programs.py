#!/usr/bin/python
"""Ansible module: the supervisord programs of one owner, a file each, each restarted only when its own file changed."""

from __future__ import annotations

DOCUMENTATION = r"""
module: supervisor_programs
short_description: The supervisord programs of one owner, a file each, each restarted only when its own file changed
description:
  - Writes each C([program:NAME]) section of O(content) to a file of its own in supervisord's C(conf.d), removes the
    files of programs that the same owner has no more, and makes the running supervisord match.
  - Works as C(supervisorctl update) does, but stops all the programs that have to stop at once, so that several
    workers finish what they hold side by side.
  - Compares with what runs, not with what this run wrote, so that a deployment which was interrupted is finished.
options:
  owner:
    description: Whose programs these are. Written at the top of each file; files of other owners are left alone.
    type: str
    required: true
  content:
    description: One or more C([program:NAME]) sections in supervisord's own format.
    type: str
    required: true
  directory:
    description: supervisord's folder of included files.
    type: path
    default: /etc/supervisor/conf.d
  socket:
    description: supervisord's control socket.
    type: path
    default: /run/supervisor.sock
  timeout:
    description: Seconds to wait for programs to stop. Longer than the longest C(stopwaitsecs).
    type: int
    default: 900
author:
  - Celery on Hosts
"""

EXAMPLES = r"""
- name: Run the programs
  celery_on_hosts.platform.supervisor_programs:
    owner: celery
    content: "{{ lookup('ansible.builtin.template', 'programs.conf.j2') }}"
"""

RETURN = r"""
programs:
  description: What was done, program by program.
  returned: always
  type: dict
  sample: {celery: restarted, celery-low: started, celery-old: removed}
"""

import http.client
import os
import re
import socket
import tempfile
import time
import xmlrpc.client
from typing import Any

from ansible.module_utils.basic import AnsibleModule

STOPPED = {"STOPPED", "EXITED", "FATAL"}
RUNNING = {"STARTING", "RUNNING", "BACKOFF"}


class _Transport(xmlrpc.client.Transport):
    """XML-RPC over supervisord's Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.connect(self.path)
        return connection


def split(content: str, owner: str) -> dict[str, str]:
    """The text of each program's file, by program name.

    Raises ValueError for a section that is no program, text before the first section or two programs of one name.
    """
    header = f"; Managed by Ansible for {owner}. Changes here are lost.\n"
    files: dict[str, str] = {}
    for section in re.split(r"^(?=\[)", content, flags=re.MULTILINE):
        if not section.strip():
            continue
        match = re.match(r"\[program:([^]\s]+)\]", section)
        if not match:
            raise ValueError(f"not a [program:NAME] section: {section.strip().splitlines()[0]!r}")
        if match[1] in files:
            raise ValueError(f"two programs of one name: {match[1]!r}")
        files[match[1]] = header + section.rstrip() + "\n"
    return files


def read_owned(directory: str, owner: str) -> dict[str, str]:
    """The files that are there for this owner, by program name."""
    header = f"; Managed by Ansible for {owner}."
    found: dict[str, str] = {}
    for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else []:
        if name.endswith(".conf"):
            with open(os.path.join(directory, name), encoding="utf-8") as file:
                text = file.read()
            if text.startswith(header):
                found[name.removesuffix(".conf")] = text
    return found


def write(directory: str, programs: dict[str, str]) -> None:
    """Write each program's file, whole or not at all."""
    for name, text in programs.items():
        handle, temporary = tempfile.mkstemp(dir=directory, prefix=".new-")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            os.fchmod(file.fileno(), 0o644)
        os.rename(temporary, os.path.join(directory, f"{name}.conf"))


def apply(server: Any, wanted: set[str], stale: list[str], directory: str, timeout: float) -> dict[str, str]:
    """Make the running supervisord match its files, for these programs only, and say what was done to each.

    A stale program's file goes last, so that a run which is interrupted is finished by the next.
    Raises TimeoutError when a program does not stop within ``timeout`` seconds.
    """
    added, changed = (sorted(wanted & set(names)) for names in server.reloadConfig()[0][:2])
    active = {one["group"] for one in server.getAllProcessInfo()}
    removed = [name for name in stale if name in active]
    leaving = [*changed, *removed]
    for name in leaving:
        server.stopProcessGroup(name, False)
    for name in added:
        server.addProcessGroup(name)
    deadline = time.monotonic() + timeout
    waiting = set(leaving)
    while waiting:
        stopping = {one["group"] for one in server.getAllProcessInfo() if one["statename"] not in STOPPED}
        # Each goes on as soon as it has stopped: one that stops slowly holds up nobody else.
        for name in sorted(waiting - stopping):
            server.removeProcessGroup(name)
            if name in changed:
                server.addProcessGroup(name)
        waiting &= stopping
        if time.monotonic() > deadline:
            raise TimeoutError(f"still stopping after {timeout:.0f} s: {', '.join(sorted(waiting))}")
        if waiting:
            time.sleep(0.1)
    for name in stale:
        os.unlink(os.path.join(directory, f"{name}.conf"))
    done = {name: "started" for name in added}
    done |= {name: "restarted" for name in changed}
    done |= {name: "removed" for name in stale}
    return done


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "owner": {"type": "str", "required": True},
            "content": {"type": "str", "required": True},
            "directory": {"type": "path", "default": "/etc/supervisor/conf.d"},
            "socket": {"type": "path", "default": "/run/supervisor.sock"},
            "timeout": {"type": "int", "default": 900},
        },
        supports_check_mode=True,
    )
    options = module.params
    try:
        wanted = split(options["content"], options["owner"])
    except ValueError as error:
        module.fail_json(msg=str(error))
    found = read_owned(options["directory"], options["owner"])
    differing = {name: text for name, text in wanted.items() if found.get(name) != text}
    stale = sorted(found.keys() - wanted.keys())
    diff = [
        {
            "before_header": f"{options['directory']}/{name}.conf",
            "after_header": f"{options['directory']}/{name}.conf",
            "before": found.get(name, ""),
            "after": wanted.get(name, ""),
        }
        for name in [*differing, *stale]
    ]
    if module.check_mode:
        said = {name: "restarted" if name in found else "started" for name in differing}
        said |= {name: "removed" for name in stale}
        module.exit_json(changed=bool(said), programs=said, diff=diff)
    write(options["directory"], differing)
    server = xmlrpc.client.ServerProxy("http://localhost", transport=_Transport(options["socket"])).supervisor
    try:
        done = apply(server, set(wanted), stale, options["directory"], options["timeout"])
    except (OSError, xmlrpc.client.Fault, TimeoutError) as error:
        module.fail_json(
            msg=f"supervisord on {options['socket']}: {error}. See `systemctl status supervisor`, "
            "`supervisorctl status` and /var/log/supervisor/supervisord.log, then deploy again."
        )
    module.exit_json(changed=bool(differing or stale or done), programs=done, diff=diff)


if __name__ == "__main__":
    main()
