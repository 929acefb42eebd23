"""Jinja filters that turn the entries of ``celery_workers`` into supervisord programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.filter.platform import env_file

_OPTIONS = {
    "concurrency": "--concurrency",
    "autoscale": "--autoscale",
    "prefetch_multiplier": "--prefetch-multiplier",
    "max_tasks_per_child": "--max-tasks-per-child",
    "max_memory_per_child": "--max-memory-per-child",
}


def worker_program(worker: Mapping[str, Any], defaults: Mapping[str, Any], host: str = "%h") -> dict[str, Any]:
    """The supervisord program of one entry of ``celery_workers``.

    Args:
        worker: the entry, as the user wrote it (checked by the preflight).
        defaults: ``time_limit``, ``soft_time_limit``, ``stop_wait`` (seconds) for what the entry leaves out.
        host: the host's name, for the node's.

    Returns:
        ``program`` and ``node`` names, the file of its ``report``, ``queues``, ``arguments`` (of ``celery worker``),
        ``stop_wait`` in seconds, ``environment``.
    """
    name = worker["name"]
    pool = worker.get("pool", "prefork")
    arguments = [f"--hostname={name}@%h", f"--queues={','.join(worker['queues'])}", f"--pool={pool}"]
    arguments += [f"{flag}={worker[key]}" for key, flag in _OPTIONS.items() if worker.get(key) is not None]
    limit = worker.get("time_limit", defaults["time_limit"])
    # Celery enforces the hard limit in the prefork pool only (its user guide, "Workers", "Time limits").
    if pool == "prefork":
        arguments.append(f"--time-limit={limit}")
        arguments.append(f"--soft-time-limit={worker.get('soft_time_limit', min(defaults['soft_time_limit'], limit))}")
    arguments.append(f"--loglevel={worker.get('loglevel', 'INFO')}")
    arguments += worker.get("arguments", [])
    program = name if name == "celery" else f"celery-{name}"
    margin = defaults["stop_wait"] - defaults["time_limit"]
    return {
        "name": name,
        "program": program,
        "report": f"/run/celery/{program}.json",  # runtime/celery_on_hosts/liveness.py
        "node": f"{name}@{host}",
        "pool": pool,
        "queues": list(worker["queues"]),
        "arguments": arguments,
        "stop_wait": worker.get("stop_wait", limit + margin),
        "environment": dict(worker.get("environment", {})),
    }


def workers_of(workers: Iterable[Mapping[str, Any]], host: str, groups: Sequence[str]) -> list[Mapping[str, Any]]:
    """The entries of ``celery_workers`` that run on a host of the group ``workers``.

    Args:
        workers: the entries. One with ``hosts`` runs on those hosts, or hosts of those groups, alone.
        host: the host's name.
        groups: the groups that the host is in.
    """
    if "workers" not in groups:
        return []
    return [one for one in workers if "hosts" not in one or {host, *groups} & set(one["hosts"])]


def environment_file(program: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """The file in a folder that holds a program's own environment, as an entry for the module ``files``."""
    return {
        "dest": f"{folder}/{program['program']}.environment",
        "secret": env_file(program["environment"]),
        "group": "celery",
        "mode": "0640",
    }


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Any]:
        """The filters by name."""
        return {"worker_program": worker_program, "workers_of": workers_of, "environment_file": environment_file}
