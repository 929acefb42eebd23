# SPDX-License-Identifier: MIT
"""Read the entries of ``celery_workers``: the only place that knows what an entry means. Standard library only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.module_utils.names import REPORTS
from ansible_collections.celery_on_hosts.platform.runtime.celery_on_hosts.platform_file import Reader

# Keys of an entry that are options of `celery worker` as they stand.
OPTIONS = {
    "concurrency": "--concurrency",
    "autoscale": "--autoscale",
    "prefetch_multiplier": "--prefetch-multiplier",
    "max_tasks_per_child": "--max-tasks-per-child",
    "max_memory_per_child": "--max-memory-per-child",
}


@dataclass(frozen=True)
class Limits:
    """The platform's limits for what an entry leaves out.

    Args:
        time: seconds after which a task is killed.
        soft: seconds after which a task gets an exception.
        stop_wait: seconds in which a worker has to finish what it holds when it is stopped.
    """

    time: int
    soft: int
    stop_wait: int

    @classmethod
    def of(cls, variables: Mapping[str, Any]) -> Limits:
        """Return the limits that an inventory's variables set."""
        return cls(variables["celery_time_limit"], variables["celery_soft_time_limit"], variables["celery_stop_wait"])


@dataclass(frozen=True)
class Worker:
    """One entry of ``celery_workers``: a worker of the same kind on each host where it is placed.

    Args:
        name: the entry's name, the first part of the node's name.
        queues: the queues that it reads.
        pool: prefork, threads, gevent, eventlet or solo.
        stop_wait: seconds in which it has to finish what it holds when it is stopped.
        time_limit: seconds after which it kills a task without a limit of its own; None where its pool kills none.
        own_limit: whether the entry itself has a time limit.
        arguments: all arguments of ``celery worker``.
        environment: variables that this worker alone gets.
        hosts: the hosts, or groups of hosts, on which it runs; None for every host of the group ``workers``.
    """

    name: str
    queues: tuple[str, ...]
    pool: str
    stop_wait: int
    time_limit: int | None
    own_limit: bool
    arguments: tuple[str, ...]
    environment: Mapping[str, Any] = field(default_factory=dict)
    hosts: tuple[str, ...] | None = None

    @classmethod
    def parse(cls, entry: Mapping[str, Any], limits: Limits) -> Worker:
        """Return the worker of an entry that preflight has checked."""
        name, pool = entry["name"], entry.get("pool", "prefork")
        limit = entry.get("time_limit", limits.time)
        arguments = [f"--hostname={name}@%h", f"--queues={','.join(entry['queues'])}", f"--pool={pool}"]
        arguments += [f"{flag}={entry[key]}" for key, flag in OPTIONS.items() if entry.get(key) is not None]
        # Celery enforces the hard limit in the prefork pool only (its user guide, "Workers", "Time limits").
        if pool == "prefork":
            arguments.append(f"--time-limit={limit}")
            arguments.append(f"--soft-time-limit={entry.get('soft_time_limit', min(limits.soft, limit))}")
        arguments.append(f"--loglevel={entry.get('loglevel', 'INFO')}")
        return cls(
            name=name,
            queues=tuple(entry["queues"]),
            pool=pool,
            stop_wait=entry.get("stop_wait", limit + limits.stop_wait - limits.time),
            time_limit=limit if pool == "prefork" else None,
            own_limit="time_limit" in entry,
            arguments=(*arguments, *(entry.get("arguments") or ())),
            environment=dict(entry.get("environment") or {}),
            hosts=tuple(entry["hosts"]) if "hosts" in entry else None,
        )

    @property
    def program(self) -> str:
        """The name of its supervisord program."""
        return self.name if self.name == "celery" else f"celery-{self.name}"

    @property
    def report(self) -> str:
        """The file in which it says that it is ready."""
        return f"{REPORTS}/{self.program}.json"

    @property
    def reader(self) -> Reader:
        """Its description for `platform.json`."""
        return Reader(self.program, self.queues, self.stop_wait, self.time_limit, self.own_limit)

    def node(self, host: str) -> str:
        """Return the name of its node on a host, as Celery knows it."""
        return f"{self.name}@{host}"

    def placed(self, host: str, groups: Iterable[str]) -> bool:
        """Return whether it runs on a host that is in some groups."""
        named = {host, *groups}
        return "workers" in named and (self.hosts is None or not named.isdisjoint(self.hosts))


def parse_workers(entries: Sequence[Mapping[str, Any]], limits: Limits) -> list[Worker]:
    """Return the workers of all entries."""
    return [Worker.parse(entry, limits) for entry in entries]


def queues_of(workers: Iterable[Worker]) -> list[str]:
    """Return the queues that some workers read, each once."""
    return list(dict.fromkeys(queue for worker in workers for queue in worker.queues))
