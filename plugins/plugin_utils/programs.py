# SPDX-License-Identifier: MIT
"""Say which supervisord programs a host runs, how each is started, and how long each may take to stop.

Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.module_utils.names import REPORTS
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils import topology, web
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.settings import environment_suffix
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.topology import Topology
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.workers import Worker
from ansible_collections.celery_on_hosts.platform.runtime.celery_on_hosts import platform_file

CELERY = "/usr/local/bin/celery"
STATE = "/var/lib/celery"
# supervisord starts programs in this order, and stops them in the reverse order.
WORKER_PRIORITY, BEAT_PRIORITY, FLOWER_PRIORITY, WEB_PRIORITY = 100, 200, 300, 400
BEAT_STOP_WAIT, FLOWER_STOP_WAIT = 30, 20
WEB_STOP_WAIT = 15  # beyond the time for the requests


@dataclass(frozen=True)
class Program:
    """A supervisord program of the application.

    Args:
        name: supervisord's name of the program.
        command: its command, with % written as supervisord reads it.
        stop_wait: seconds in which it has to end after the stop signal.
        priority: its place in the order of starts.
        description: its entry in ``platform.json``.
        report: the file in which it says that it is ready; empty where it cannot be handed over.
        suffix: what its own environment adds to the digest of its configuration.
    """

    name: str
    command: str
    stop_wait: int
    priority: int
    description: platform_file.Program
    report: str = ""
    suffix: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the program as the role ``celery`` takes it."""
        keys = ("name", "command", "stop_wait", "priority", "suffix")
        return {key: getattr(self, key) for key in keys}


def worker_program(worker: Worker, app: str, node_host: str) -> Program:
    """Return the program of a worker.

    Args:
        worker: the worker.
        app: the application, as `celery -A` takes it.
        node_host: the host's own name, the second part of the node's name.
    """
    arguments = " ".join(argument.replace("%", "%%") for argument in worker.arguments)
    description = platform_file.Program(
        program=worker.program, kind="worker", node=worker.node(node_host), queues=worker.queues
    )
    return Program(
        name=worker.program,
        command=f"{CELERY} -A {app} worker {arguments}",
        stop_wait=worker.stop_wait,
        priority=WORKER_PRIORITY,
        report=worker.report,
        suffix=environment_suffix(worker.environment),
        description=description,
    )


def beat_program(app: str, scheduler: str = "") -> Program:
    """Return the program of beat.

    Args:
        app: the application, as `celery -A` takes it.
        scheduler: its scheduler; empty for the one of the application's settings.
    """
    options = f"--loglevel=INFO --pidfile= --schedule={STATE}/celerybeat-schedule"
    return Program(
        name="celerybeat",
        command=f"{CELERY} -A {app} beat {options}" + (f" --scheduler={scheduler}" if scheduler else ""),
        stop_wait=BEAT_STOP_WAIT,
        priority=BEAT_PRIORITY,
        description=platform_file.Program(program="celerybeat", kind="beat", scheduler=scheduler),
    )


def web_program(
    variables: Mapping[str, Any], addresses: Sequence[str], proxies: Iterable[str], public_name: str
) -> Program:
    """Return the program of the web side. A command of the inventory's cannot be handed over: it says no readiness.

    Args:
        variables: those that begin with ``celery_web_``.
        addresses: the addresses at which it listens, the first of which is for everybody.
        proxies: the addresses of the hosts whose nginx asks.
        public_name: the ``Host`` that health asks with, where the inventory has no name.
    """
    path = variables["celery_web_health_path"]
    words = web.server_words(variables, addresses, topology.WEB, proxies)
    return Program(
        name="web",
        command=web.supervisor_command(words),
        stop_wait=web.grace(variables) + WEB_STOP_WAIT,
        priority=WEB_PRIORITY,
        report="" if variables["celery_web_command"] else f"{REPORTS}/web.json",
        description=platform_file.Program(
            program="web",
            kind="web",
            url=f"http://{topology.place(addresses[0], topology.WEB)}{path}",
            host=(*web.public_names(variables), public_name)[0],
            below=500 if path == "/" else 400,
        ),
    )


@dataclass(frozen=True)
class Programs:
    """The programs of a platform.

    Args:
        topo: the platform's hosts.
        workers: the workers of ``celery_workers``.
        variables: a host's variables.
    """

    topo: Topology
    workers: tuple[Worker, ...]
    variables: Mapping[str, Any]

    def workers_of(self, host: str, groups: Iterable[str]) -> list[Worker]:
        """Return the workers of a host that is in some groups, also while they are drained."""
        return [worker for worker in self.workers if worker.placed(host, groups)]

    def application(self, host: str, groups: Iterable[str], node_host: str, drained: bool) -> list[Program]:
        """Return the application's programs on a host.

        Args:
            host: the host.
            groups: the groups that the host is in.
            node_host: the host's own name.
            drained: whether the host's workers are out of service.
        """
        app = self.variables["celery_app"]
        here = [] if drained else self.workers_of(host, groups)
        found = [worker_program(worker, app, node_host) for worker in here]
        if self.topo.has(host, "beat"):
            found.append(beat_program(app, self.variables["celery_beat_scheduler"]))
        if self.topo.has(host, "web"):
            addresses, proxies = self.topo.web_binds(host), self.topo.members["proxy"]
            asking = [self.topo.addresses[proxy] for proxy in proxies]
            found.append(web_program(self.variables, addresses, asking, (*proxies, host)[0]))
        return found

    def names(self) -> list[str]:
        """Return the names of the programs of all hosts."""
        optional = {"celerybeat": "beat", "web": "web", "flower": "monitoring"}
        return [
            *(worker.program for worker in self.workers),
            *(name for name, group in optional.items() if self.topo.runs(group)),
        ]

    def names_on(self, host: str, groups: Iterable[str]) -> list[str]:
        """Return the names of the programs of a host, also while its workers are drained."""
        optional = {"celerybeat": "beat", "web": "web", "flower": "monitoring"}
        return [
            *(worker.program for worker in self.workers_of(host, groups)),
            *(name for name, group in optional.items() if self.topo.has(host, group)),
        ]

    def stop_timeout(self) -> int:
        """Return the seconds in which supervisord stops everything on any host.

        It stops the workers side by side, then beat, Flower and the web side one after the other.
        """
        longest: int = self.variables["celery_stop_wait"]
        return max([longest, *(worker.stop_wait for worker in self.workers)]) + 150 + web.grace(self.variables)

    def stop_timeout_on(self, host: str, groups: Iterable[str]) -> int:
        """Return the seconds in which the application's programs of a host stop."""
        slowest = web.grace(self.variables) + WEB_STOP_WAIT if self.topo.has(host, "web") else 0
        return max([60, slowest, *(worker.stop_wait for worker in self.workers_of(host, groups))]) + 60
