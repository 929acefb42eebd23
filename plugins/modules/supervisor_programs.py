#!/usr/bin/python
"""Ansible module: write one owner's supervisord programs, and restart only those whose own files changed."""

from __future__ import annotations

DOCUMENTATION = r"""
module: supervisor_programs
short_description: Run one owner's supervisord programs, and restart only those whose own files changed
description:
  - Writes each C([program:NAME]) section of O(content) to a file of its own in supervisord's C(conf.d), removes the
    files of programs that the same owner has no more, and makes the running supervisord match.
  - Works as C(supervisorctl update) does, but stops all the programs that have to stop at once, so that several
    workers finish what they hold side by side.
  - A program of O(handover) runs without a gap. Its old process is renamed to C(NAME-leaving-PID) and runs until all
    new processes are ready. Then it is told to stop, and the module does not wait for that. Where a new process does
    not get ready, or dies several times before it is, all new processes are stopped and the old ones keep running.
  - Compares with what runs, not with what this run wrote, so that the next run finishes an interrupted one.
options:
  owner:
    description: Whose programs these are. Written at the top of each file; files of other owners are left alone.
    type: str
    required: true
  content:
    description:
      - One or more C([program:NAME]) sections in supervisord's own format. The owner's files stay as they are when left
        out.
    type: str
  restart:
    description: Programs that are restarted, or handed over, although their files did not change.
    type: list
    elements: str
    default: []
  directory:
    description: supervisord's folder of included files.
    type: path
    default: /etc/supervisor/conf.d
  socket:
    description: supervisord's control socket.
    type: path
    default: /run/supervisor.sock
  handover:
    description:
      - Programs whose new process is ready before the old one is stopped, and the file of each program's heartbeat,
        JSON with C(pid) and C(connected).
      - supervisord has to have the extension C(supervisor_handover) of the role C(supervisor). Without it, as in a
        supervisord of others, the program is restarted.
    type: dict
    default: {}
  ready_timeout:
    description: Seconds in which a new process of O(handover) has to be ready.
    type: int
    default: 60
  keep:
    description:
      - Keep the owner's files in this folder before they change. Files that are already kept are not replaced.
      - Nothing is kept when it is empty.
    type: path
    default: ""
  configuration:
    description:
      - Files that the programs read, as M(celery_on_hosts.platform.files) takes them. They are written before the
        programs are restarted.
    type: list
    elements: dict
    default: []
    suboptions:
      dest:
        description: The path.
        type: path
        required: true
      content:
        description: The text of the file.
        type: str
      secret:
        description: The text of a file that holds a secret. Never shown.
        type: str
      block:
        description: Lines at the top of a file of others, between two lines that mark them.
        type: str
      link:
        description: Make a symbolic link to this target.
        type: str
      state:
        description: What has to be at the path.
        type: str
        choices: [file, directory, link, absent]
      owner:
        description: The owner's name.
        type: str
        default: root
      group:
        description: The group's name.
        type: str
        default: root
      mode:
        description: The mode, in octal digits.
        type: str
  undo_after:
    description:
      - How many seconds a program that ran before may take to run again after its file changed. When a program ends
        before supervisord takes it for running, the previous files of the programs and of O(configuration) are put
        back, the programs run with them again, and the module fails with the last lines of the programs' logs.
      - With V(0) nothing is awaited and nothing is undone.
    type: int
    default: 0
  previous:
    description: The folder for what the files were, until the programs run with the new ones.
    type: path
    default: /var/lib/celery-platform/previous
  timeout:
    description: Seconds to wait for programs to stop. Longer than the longest C(stopwaitsecs).
    type: int
    default: 900
  log_folder:
    description: Where the programs' logs are. The message about a program that does not get ready quotes its log.
    type: path
    default: /var/log/celery
author:
  - Celery on Hosts
"""

EXAMPLES = r"""
- name: Run the programs
  celery_on_hosts.platform.supervisor_programs:
    owner: celery
    content: "{{ lookup('ansible.builtin.template', 'programs.conf.j2') }}"

- name: Restart one of them
  celery_on_hosts.platform.supervisor_programs:
    owner: celery
    restart: [celery]
"""

RETURN = r"""
files:
  description: The programs whose files changed, also on failure (in check mode, that would change).
  returned: always
  type: list
  elements: str
programs:
  description: What was done, program by program.
  returned: always
  type: dict
  sample: {celery: handed over, celery-low: started, celerybeat: restarted, celery-old: removed}
"""

import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import time
import xmlrpc.client
from pathlib import Path
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.module_utils import atomic, logs
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.files import (
    ARGUMENT_SPEC,
    FilesError,
    SilentModule,
    bring,
)
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.names import LOGS, PREVIOUS
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.previous import Previous

STOPPED = {"STOPPED", "EXITED", "FATAL"}
LEAVING = "-leaving-"
BAD_NAME, STILL_RUNNING = 10, 91  # codes of supervisord's faults
DEATHS = 3  # of a new process, after which the module stops waiting


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
    """Return the text of each program's file, by program name.

    Args:
        content: sections in supervisord's format.
        owner: whose programs these are.

    Raises:
        ValueError: a section is no program, two programs have one name, or there is text before the first section
            that is no comment.
    """
    header = f"; Managed by Ansible for {owner}. Changes here are lost.\n"
    files: dict[str, str] = {}
    for section in re.split(r"^(?=\[)", content, flags=re.MULTILINE):
        if all(not line or line.startswith(";") for line in section.splitlines()):
            continue
        match = re.match(r"\[program:([^]\s]+)\]", section)
        if not match:
            raise ValueError(f"not a [program:NAME] section: {section.strip().splitlines()[0]!r}")
        if match[1] in files:
            raise ValueError(f"two programs of one name: {match[1]!r}")
        files[match[1]] = header + section.rstrip() + "\n"
    return files


def read_owned(directory: str, owner: str) -> dict[str, str]:
    """Return the text of the owner's files, by program name."""
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
    """Write each program's file atomically."""
    for name, text in programs.items():
        atomic.write(os.path.join(directory, f"{name}.conf"), text, mode=0o644)


def keep(folder: str, programs: dict[str, str]) -> None:
    """Keep all files in a folder, or none. Files that are already kept are not replaced."""
    if os.path.isdir(folder):
        return
    os.makedirs(os.path.dirname(folder), mode=0o700, exist_ok=True)
    beside = f"{folder}.new"
    shutil.rmtree(beside, ignore_errors=True)  # left by a run that was killed
    os.mkdir(beside)
    write(beside, programs)
    os.rename(beside, folder)


class Programs:
    """The programs of a running supervisord.

    Args:
        server: supervisord's XML-RPC.
        timeout: seconds that a program may take to stop.
        handover: see the module's option.
        ready_timeout: seconds that a program may take to get ready.
        log_folder: where the programs' logs are.
    """

    def __init__(
        self, server: Any, timeout: float, handover: dict[str, str], ready_timeout: float, log_folder: str = LOGS
    ) -> None:
        self.supervisor, self.handover = server.supervisor, server.handover
        self.timeout = timeout
        self.files = handover
        self.ready_timeout = ready_timeout
        self.log_folder = log_folder

    def apply(self, wanted: set[str], restart: set[str], stale: list[str], directory: str) -> dict[str, str]:
        """Make the running supervisord match its files, for these programs only.

        Files of stale programs are removed last, so that the next run finishes an interrupted one.

        Args:
            wanted: the owner's programs.
            restart: those to restart although their files did not change.
            stale: those to remove.
            directory: the folder of the files.

        Returns:
            What was done, by program.

        Raises:
            TimeoutError: a program does not stop, or does not get ready, in time.
        """
        added, changed = (sorted(wanted & set(names)) for names in self.supervisor.reloadConfig()[0][:2])
        state = {one["group"]: one for one in self.supervisor.getAllProcessInfo()}
        changed = sorted({*changed, *(restart & wanted & state.keys())})
        removed = [name for name in stale if name in state]
        handed = {
            name: f"{name}{LEAVING}{state[name]['pid']}"
            for name in changed
            if name in self.files and state[name]["statename"] == "RUNNING"
        }
        # Hand over first: when that has to be undone, no other program was touched.
        for name, leaving in handed.items():
            self.handover.rename(name, leaving)
            self.supervisor.addProcessGroup(name)
        self._wait_until_ready(handed)
        stopping = [name for name in changed if name not in handed]
        for name in [*stopping, *removed]:
            self.supervisor.stopProcessGroup(name, False)
        for name in added:
            self.supervisor.addProcessGroup(name)
        self._wait_until_stopped(set(stopping) | set(removed), set(stopping))
        for one in self.supervisor.getAllProcessInfo():  # left by an interrupted run
            if one["statename"] == "RUNNING" and one["group"].rpartition(LEAVING)[0] in wanted:
                self._stop(one["group"])
        for name in stale:
            with contextlib.suppress(FileNotFoundError):  # an undone start has removed it
                os.unlink(os.path.join(directory, f"{name}.conf"))
        done = {name: "started" for name in added}
        done |= {name: "handed over" if name in handed else "restarted" for name in changed}
        done |= {name: "removed" for name in stale}
        return done

    def ended(self, names: set[str], seconds: float) -> list[str]:
        """Wait until programs run, and return those that ended before supervisord took them for running."""
        deadline = time.monotonic() + seconds
        waiting, failed = set(names), set()
        while waiting and time.monotonic() < deadline:
            for one in self.supervisor.getAllProcessInfo():
                if one["group"] in waiting and one["statename"] != "STARTING":
                    waiting.remove(one["group"])
                    failed |= {one["group"]} if one["statename"] != "RUNNING" else set()
            if waiting:
                time.sleep(0.1)
        return sorted(failed | waiting)

    def _wait_until_stopped(self, waiting: set[str], again: set[str]) -> None:
        """Wait until programs have stopped, and start those of `again` by their present files."""
        deadline = time.monotonic() + self.timeout
        while waiting:
            infos = self.supervisor.getAllProcessInfo()
            stopping = {one["group"] for one in infos if one["statename"] not in STOPPED}
            # A program that stops slowly does not delay the others.
            for name in sorted(waiting - stopping):
                if not self._remove(name):
                    continue
                waiting = waiting - {name}
                if name in again:
                    self.supervisor.addProcessGroup(name)
            if time.monotonic() > deadline:
                raise TimeoutError(f"still stopping after {self.timeout:.0f} s: {', '.join(sorted(waiting))}")
            if waiting:
                time.sleep(0.02)

    def _remove(self, name: str) -> bool:
        """Remove a program that has stopped, and return whether it had: supervisord may have just started it again."""
        try:
            self.supervisor.removeProcessGroup(name)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != STILL_RUNNING:
                raise
            self.supervisor.stopProcessGroup(name, False)
            return False
        return True

    def _wait_until_ready(self, handed: dict[str, str]) -> None:
        """Wait until all new processes are ready, then stop the old ones; undo the handover if one is not."""
        waiting, started = set(handed), time.monotonic()
        seen: dict[str, set[int]] = {name: set() for name in handed}
        while any(len(seen[name]) <= DEATHS for name in waiting) and time.monotonic() < started + self.ready_timeout:
            pids = {one["group"]: one["pid"] for one in self.supervisor.getAllProcessInfo()}
            for name in list(waiting):
                seen[name] |= {pids[name]} - {0}
                if pids[name] and ready(self.files[name], pids[name]):
                    waiting.remove(name)
            if waiting:
                time.sleep(0.05)
        if not waiting:
            for leaving in handed.values():
                self._stop(leaving)
            return
        waited = time.monotonic() - started
        said = logs.ends(sorted(waiting), self.log_folder)
        for name in handed:
            self.supervisor.stopProcessGroup(name, False)
        self._wait_until_stopped(set(handed), set())
        for name, leaving in handed.items():
            self.handover.rename(leaving, name)
        problem = f"not ready after {waited:.0f} s: {', '.join(sorted(waiting))}; the old processes keep running"
        raise TimeoutError("\n".join([problem, *([said] if said else [])]))

    def _stop(self, leaving: str) -> None:
        try:
            self.supervisor.stopProcessGroup(leaving, False)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != BAD_NAME:  # the process has ended, and supervisord has forgotten it
                raise


def ready(file: str, pid: int) -> bool:
    """Return whether a process's heartbeat says that it is connected."""
    try:
        with open(file, encoding="utf-8") as said:
            report = json.load(said)
    except (OSError, ValueError):
        return False
    return report.get("pid") == pid and bool(report.get("connected"))


def with_extension(server: Any, handover: dict[str, str]) -> dict[str, str]:
    """Return the programs to hand over: none where a supervisord of others lacks the extension."""
    try:
        return handover if "handover.rename" in server.system.listMethods() else {}
    except OSError:  # the first call of the programs says what is wrong
        return handover


ARGUMENTS: dict[str, Any] = {
    "owner": {"type": "str", "required": True},
    "content": {"type": "str"},
    "restart": {"type": "list", "elements": "str", "default": []},
    "directory": {"type": "path", "default": "/etc/supervisor/conf.d"},
    "socket": {"type": "path", "default": "/run/supervisor.sock"},
    "handover": {"type": "dict", "default": {}},
    "keep": {"type": "path", "default": ""},
    "ready_timeout": {"type": "int", "default": 60},
    "timeout": {"type": "int", "default": 900},
    "log_folder": {"type": "path", "default": LOGS},
    "configuration": {"type": "list", "elements": "dict", "default": [], "options": ARGUMENT_SPEC},
    "undo_after": {"type": "int", "default": 0},
    "previous": {"type": "path", "default": PREVIOUS},
}


def undo(
    programs: Programs, options: dict[str, Any], previous: Previous, failed: list[str], began: dict[str, int]
) -> str:
    """Let programs run with their previous files again, and return what happened, with the ends of their logs."""
    said = logs.ends_of(began, began)
    new = set(read_owned(options["directory"], options["owner"]))
    paths = previous.put_back()
    before = set(read_owned(options["directory"], options["owner"]))
    programs.apply(before, set(), sorted(new - before), options["directory"])
    again = programs.ended(set(failed) & before, options["undo_after"])
    previous.forget()
    back = f"The previous state of {', '.join(sorted(paths))} is back, and "
    back += f"{', '.join(again)} does not run with it either." if again else f"{', '.join(failed)} runs with it."
    return "\n".join(
        [
            f"{', '.join(failed)} does not start with the new files.",
            *([said] if said else []),
            back,
            "What to do: Correct what the log complains of, and deploy again.",
        ]
    )


def main() -> None:
    """Run the module."""
    module = SilentModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
    )
    options = module.params
    found = read_owned(options["directory"], options["owner"])
    restart = set(options["restart"])
    try:
        wanted = found if options["content"] is None else split(options["content"], options["owner"])
    except ValueError as error:
        module.fail_json(msg=str(error))
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
    previous = Previous(Path(options["previous"]), f"{options['owner']}.programs")
    ours = [os.path.join(options["directory"], f"{name}.conf") for name in [*differing, *stale]]
    try:
        changed, diffs = bring(options["configuration"], check_mode=True)
        if options["undo_after"] and not module.check_mode:
            previous.keep([*changed, *ours])
        if not module.check_mode:
            bring(options["configuration"], check_mode=False)
    except (FilesError, OSError) as error:
        module.fail_json(msg=str(error))
    diff = [*diffs, *diff]
    if module.check_mode:
        said = {name: "restarted" if name in found else "started" for name in differing}
        said |= {name: "restarted" for name in restart & wanted.keys()} | {name: "removed" for name in stale}
        module.exit_json(changed=bool(said or changed), programs=said, files=[*differing, *stale], diff=diff)
    if options["keep"] and (differing or stale):
        keep(options["keep"], found)
    write(options["directory"], differing)
    server = xmlrpc.client.ServerProxy("http://localhost", transport=_Transport(options["socket"]))
    programs = Programs(
        server,
        options["timeout"],
        with_extension(server, options["handover"]),
        options["ready_timeout"],
        options["log_folder"],
    )
    log_files = [os.path.join(options["log_folder"], f"{name}.log") for name in sorted(found)]
    began = {path: os.path.getsize(path) if os.path.exists(path) else 0 for path in log_files}
    try:
        done = programs.apply(set(wanted), restart, stale, options["directory"])
        again = {name for name, what in done.items() if what == "restarted"}
        failed = programs.ended(again, options["undo_after"]) if options["undo_after"] else []
        if failed:
            module.fail_json(msg=undo(programs, options, previous, failed, began), files=[*differing, *stale])
        previous.forget()
    except TimeoutError as error:
        module.fail_json(msg=str(error), files=[*differing, *stale])
    except (OSError, xmlrpc.client.Fault) as error:
        module.fail_json(
            msg=f"supervisord on {options['socket']}: {error}. See `systemctl status supervisor`, "
            "`supervisorctl status` and /var/log/supervisor/supervisord.log, then deploy again.",
            files=[*differing, *stale],
        )
    module.exit_json(
        changed=bool(differing or stale or done or changed), programs=done, files=[*differing, *stale], diff=diff
    )


if __name__ == "__main__":
    main()
