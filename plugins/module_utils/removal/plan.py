# SPDX-License-Identifier: MIT
"""Plan what goes from a host."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from ansible_collections.celery_on_hosts.platform.plugins.module_utils import apt
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.host import Host
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.names import FACTS, PACKAGES, STAMPS, STATE
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.packages import (
    ANSIBLES,
    Package,
    Record,
    unneeded,
)
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.removal.application import (
    plan_application,
    plan_programs,
)
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.removal.services import (
    LOGROTATE,
    SERVICES,
    plan_service,
)
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.removal.step import (
    Removal,
    RemovalError,
    Run,
    present,
    remove,
    remove_if_empty,
    run,
)

CREDENTIALS_FACT = f"{FACTS}/celery_passwords.fact"
SUPERVISORD_LOGS = "/var/log/supervisor"


def plan(host: Host, packages: Mapping[str, Package], data: bool, run: Run = run) -> Removal:
    """Return what goes from a host, and what stays.

    Args:
        host: the host.
        packages: the packages that are installed on it.
        data: whether data goes, and with it the packages that the platform installed.
        run: runs a command on the host.
    """
    record = Record(host.path(PACKAGES))
    record.settle(packages)
    removal = Removal(host, data, frozenset(record.installed), run)
    plan_programs(removal)
    with_data = [service for service in SERVICES if service.data]
    protected = [plan_service(removal, service) for service in SERVICES if not service.data]
    plan_application(removal)
    protected += [plan_service(removal, service) for service in with_data]
    runs_on = [name for name in protected if name]
    runs_on.append(plan_service(removal, LOGROTATE, [f"the logs of {name}" for name in runs_on]))
    if data:
        _plan_packages(removal, record, packages, runs_on)
        _plan_state(removal)
    elif host.glob(f"{STAMPS}/*") and any(host.claimed(service.units[0].format(version="*")) for service in with_data):
        removal.stays.append(
            "The data of the services. DATA=1 removes them, and the packages that the platform installed."
        )
    return removal


def _plan_packages(removal: Removal, record: Record, packages: Mapping[str, Package], protected: Iterable[str]) -> None:
    """Plan the removal of the packages that came with the platform and that nobody else needs."""
    candidates = set(record.installed) & packages.keys()
    if not candidates:
        return
    # An administrator who asks for a package that is there makes it his own.
    wanted = set(removal.run("apt-mark", "showmanual").split()) - {*record.asked, ANSIBLES}
    gone = unneeded(packages, candidates - wanted - set(protected))
    if gone:
        removal.add(f"the packages that the platform installed: {', '.join(gone)}", partial(_purge, removal, gone))
    if left := sorted(candidates - set(gone)):
        removal.stays.append(f"Packages that others need or asked for: {', '.join(left)}.")


def _purge(removal: Removal, packages: list[str]) -> None:
    """Remove packages with their configuration, and no other package.

    Raises:
        RemovalError: apt would remove others, or cannot remove these.
    """
    said = removal.run("apt-get", "-s", "purge", *packages)
    lines = [line.split() for line in said.splitlines()]
    others = {words[1] for words in lines if words[:1] in (["Purg"], ["Remv"])} - set(packages)
    if others:
        raise RemovalError(
            f"apt would remove {', '.join(sorted(others))} with them, which the platform did not install"
        )
    removal.run("apt-get", "purge", "--yes", "--quiet", *apt.waiting(), *packages)
    if "supervisor" in packages:  # which leaves its log
        for path in removal.host.glob(f"{SUPERVISORD_LOGS}/supervisord.log*"):
            remove(path)
        remove_if_empty(removal.host.path(SUPERVISORD_LOGS))


def _plan_state(removal: Removal) -> None:
    """Plan the removal of what the platform remembers, as long as no service of it stays."""
    host = removal.host
    kept = [service for service in SERVICES if service.data and host.claimed(service.units[0].format(version="*"))]
    shared = [service.name for service in kept if any(line.startswith(service.name) for line in removal.stays)]
    if shared:
        removal.stays.append(f"{STATE}: the next deployment goes on with {' and '.join(shared)}.")
        return
    files = present(host, CREDENTIALS_FACT, STATE)
    if files:
        folders = [host.path(FACTS), host.path(FACTS).parent]
        steps = [*(partial(remove, path) for path in files), *(partial(remove_if_empty, path) for path in folders)]
        removal.add(", ".join(host.name(path) for path in files), *steps)
