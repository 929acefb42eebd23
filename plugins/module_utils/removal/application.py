# SPDX-License-Identifier: MIT
"""Remove the application and Flower: programs, files, accounts and releases."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from ansible_collections.celery_on_hosts.platform.plugins.module_utils import atomic, processes
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.application import unpacked
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.host import Host, Process, text_of
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.supervisor import OWN_PROGRAM
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.host_releases import SETTINGS as SETTINGS_FILES
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.names import (
    CELERY_DATA,
    CELERY_FILES,
    CELERY_ROOT,
    DRAINED_FACT,
    FACTS,
    FLOWER_FILES,
    FLOWER_ROOT,
    FLOWER_SETTINGS,
    HOMES,
    KEPT,
    LOGS,
    OPERATORS,
    REPORTS,
    SETTINGS,
)
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.removal.step import (
    Removal,
    present,
    remove,
    remove_if_empty,
)

ROOTS = {"celery": CELERY_ROOT, "flower": FLOWER_ROOT}
FILES = {"celery": (*CELERY_FILES, REPORTS, DRAINED_FACT), "flower": FLOWER_FILES}
# What the platform writes in a folder in which others may have files, too.
WRITTEN = {
    SETTINGS: (*SETTINGS_FILES, "next", f"{atomic.TEMPORARY}*"),
    FLOWER_SETTINGS: ("environment", "celeryconfig.py", "services-ca.crt", "__pycache__", f"{atomic.TEMPORARY}*"),
}
PATIENCE = 10  # seconds that a process outside of supervisord has to end


def programs(host: Host) -> dict[str, list[str]]:
    """Return the platform's supervisord programs, by their owner."""
    found: dict[str, list[str]] = {}
    for path in host.glob("/etc/supervisor/conf.d/*.conf"):
        if match := OWN_PROGRAM.match(text_of(path)):
            found.setdefault(match[1], []).append(path.stem)
    return found


def plan_programs(removal: Removal) -> None:
    """Plan the removal of the programs' files. Programs that run were stopped before, each as supervisord stops it."""
    names = sorted(name for owned in programs(removal.host).values() for name in owned)
    if names:
        files = [removal.host.path(f"/etc/supervisor/conf.d/{name}.conf") for name in names]
        removal.add(
            f"the programs {', '.join(names)}, which finish their tasks first", *(partial(remove, one) for one in files)
        )


def plan_application(removal: Removal) -> None:
    """Plan the removal of the application and Flower, releases last."""
    host = removal.host
    here = [name for name, root in ROOTS.items() if unpacked(host, root)]
    homes = {name: home.rstrip("/") for name, (_, home) in host.accounts.items()}
    accounts = [name for name in here if homes.get(name) == HOMES[name].rstrip("/")]
    shells = [process for name in accounts for process in _others_processes(host, host.accounts[name][0])]
    if shells:
        removal.add(f"processes of its accounts: {', '.join(map(str, shells))}")
    files = present(host, *dict.fromkeys(name for one in here for name in (*FILES[one], LOGS)))
    data = host.path(CELERY_DATA)
    files = [path for path in files if path != data and host.name(path) not in ROOTS.values()]
    if files:
        removal.add(_names(host, files), *(partial(_remove_own, removal, path) for path in files))
    _plan_data(removal, "celery" in here, data)
    if accounts:
        users = [host.accounts[name][0] for name in accounts]
        steps: list[Callable[[], object]] = [partial(_end_processes, host, users)]
        steps += [partial(removal.run, "userdel", name) for name in accounts]
        removal.add(f"the {'accounts' if len(accounts) > 1 else 'account'} {' and '.join(accounts)}", *steps)
    groups = [line.split(":")[0] for line in text_of(host.path("/etc/group")).splitlines()]
    if here and OPERATORS in groups:
        removal.add(f"the group {OPERATORS}; its members stay", partial(removal.run, "groupdel", OPERATORS))
    for name in here:
        root = host.path(ROOTS[name])
        rest = [path for path in root.iterdir() if path.name != "deps"]
        steps = [*(partial(remove, path) for path in rest), partial(remove, root / "deps"), partial(remove, root)]
        removal.add(f"{ROOTS[name]}, the releases", *steps)


def _plan_data(removal: Removal, here: bool, data: Path) -> None:
    """Plan what happens to the data of the application's programs."""
    host = removal.host
    if not (here or CELERY_DATA in host.kept) or not data.is_dir():
        return
    if removal.data or not any(data.iterdir()):
        removal.add(CELERY_DATA, partial(remove, data), partial(remove, host.path(KEPT)))
    elif here and (owner := host.accounts.get("celery")):
        what = f"the owner of {CELERY_DATA}: root until the next deployment"
        removal.add(what, partial(_keep, host, data, owner[0]))
    if not removal.data and any(data.iterdir()):
        removal.stays.append(f"{CELERY_DATA}, the data of the application's programs.")


def _keep(host: Host, data: Path, owner: int) -> None:
    """Keep data for the next deployment: the number of its owner may be another account's by then.

    Args:
        host: the host.
        data: the folder.
        owner: the number of the account that owns the data, and of the account's group.
    """
    _remember(host, CELERY_DATA)
    groups = {line.split(":")[0]: line.split(":")[2] for line in text_of(host.path("/etc/group")).splitlines()}
    group = int(groups.get("celery", owner))
    for path in (data, *data.rglob("*")):
        found = path.lstat()
        user = os.geteuid() if found.st_uid == owner else -1
        os.chown(path, user, os.getegid() if found.st_gid == group else -1, follow_symlinks=False)


def _remember(host: Host, folder: str) -> None:
    """Record a folder that the next deployment takes over although it holds something."""
    record = host.path(KEPT)
    record.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    atomic.write(record, json.dumps(sorted({*Host(str(host.root)).kept, folder})))


def _remove_own(removal: Removal, path: Path) -> None:
    """Remove a path of the platform's, and leave the files that others have below it."""
    host = removal.host
    written = WRITTEN.get(host.name(path))
    if written is None:
        remove(path)
        if path.parent == host.path(FACTS):
            remove_if_empty(path.parent)
        return
    for one in sorted({one for pattern in written for one in path.glob(pattern)}):
        remove(one)
    remove_if_empty(path)
    if path.is_dir():
        left = ", ".join(sorted(one.name for one in path.iterdir()))
        if not removal.data:
            _remember(host, host.name(path))
        removal.notes.append(f"{host.name(path)} stays, because others have files there: {left}")


def _names(host: Host, paths: Iterable[Path]) -> str:
    return ", ".join(host.name(path) for path in paths)


def _processes(host: Host, user: int) -> list[Process]:
    """Return the processes of an account."""
    found = []
    for folder in processes.folders(host.path("/proc")):
        with contextlib.suppress(OSError):  # it has ended
            if folder.stat().st_uid == user:
                found.append(host.process(folder))
    return sorted(found, key=lambda one: one.pid)


def _others_processes(host: Host, user: int) -> list[Process]:
    """Return the processes of an account that supervisord did not start, such as a shell of an operator."""
    return [one for one in _processes(host, user) if one.unit != "supervisor.service"]


def _end_processes(host: Host, users: Iterable[int]) -> None:
    """End the processes of some accounts, which cannot be removed before."""
    users = list(users)
    deadline = time.monotonic() + PATIENCE
    asked: set[int] = set()
    while running := [one.pid for user in users for one in _processes(host, user)]:
        late = time.monotonic() > deadline
        for pid in running:
            if late or pid not in asked:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
        asked |= set(running)
        if time.monotonic() > deadline + PATIENCE:
            return  # userdel says it
        time.sleep(0.1)
