# SPDX-License-Identifier: MIT
"""Check that a host's file systems and memory have room for the services that are not there yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.conflict import Conflict
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.host import Host

# Megabytes that a service needs at first, rounded up from what a lab host has after a deployment: packages and their
# downloads, the first release and its packages, and what a new data folder takes. RabbitMQ takes no message while the
# disk has less than 1 GB free (rabbitmq_disk_free_limit).
ROOM = {
    "rabbitmq": {"/usr": 150, "/var/cache": 80, "/var/lib": 1200},
    "redis": {"/usr": 20, "/var/cache": 10, "/var/lib": 200},
    "cache": {},
    "postgresql": {"/usr": 150, "/var/cache": 60, "/var/lib": 200},
    "nginx": {"/usr": 20, "/var/cache": 10},
    "supervisor": {"/usr": 30, "/var/cache": 10, "/var/log": 200},
    "celery": {"/opt": 400},
    "flower": {"/opt": 100},
}
CONFIGURATION = {"/etc": 5}  # of any service
INODES = 20_000  # files of packages and of a release
# Megabytes that a service takes when it has nothing to do, rounded up from what a lab host says (Pss). The application:
# a worker with one process, beat and a web side.
MEMORY = {
    "rabbitmq": 120,
    "redis": 20,
    "cache": 20,
    "postgresql": 60,
    "nginx": 10,
    "supervisor": 30,
    "celery": 200,
    "flower": 50,
}


def check_room(host: Host, services: Iterable[str]) -> Iterator[Conflict]:
    """Check the disks and the memory before anything is installed.

    Args:
        host: the host.
        services: those that the platform has not configured on it yet.
    """
    services = list(services)
    memory, available = sum(MEMORY[service] for service in services), host.memory
    if available is not None and available < memory:
        yield Conflict(
            "memory",
            f"{available} MB of memory and swap available",
            f"{', '.join(services)} need {memory} MB before there is any work: the kernel would kill one of them",
            "Stop what is not needed, or give the host more memory or swap (free -m shows what is used).",
        )
    needed: dict[int, dict[str, int]] = {}
    for service in services:
        for path, megabytes in {**CONFIGURATION, **ROOM[service]}.items():
            paths = needed.setdefault(host.file_system(path), {})
            paths[path] = paths.get(path, 0) + megabytes
    for paths in needed.values():
        free, inodes = host.free(next(iter(paths)))
        wanted = sum(paths.values())
        places = ", ".join(sorted(paths))
        if free < wanted:
            yield Conflict(
                "disk",
                f"{free} MB free on the file system of {places}",
                f"the services need {wanted} MB there: the installation would end half-way, or a service would refuse "
                "to write",
                "Remove what is not needed, or put a larger file system there (df -h shows what is used).",
            )
        if inodes is not None and inodes < INODES:
            yield Conflict(
                "disk",
                f"{inodes} inodes free on the file system of {places}",
                f"packages and a release are {INODES} files: the installation would end half-way",
                "Remove small files that are not needed (df -i shows what is used).",
            )
