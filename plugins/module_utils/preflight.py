# SPDX-License-Identifier: MIT
"""Check a platform's inventory before anything is touched, and say in words what is wrong.

Each check is a generator of problems over one host's variables, or over the groups. A problem that several hosts
share is reported once. Standard library only, nothing is read but what is passed in.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

Variables = Mapping[str, Any]

GROUPS = ("brokers", "results", "database", "workers", "beat", "web", "monitoring", "proxy")
# groups that may be left out, and the switch of what their hosts run
SWITCHES = {
    "beat": "celery_beat_enabled",
    "web": "celery_web_enabled",
    "database": "celery_database_enabled",
    "monitoring": "celery_flower_enabled",
}
BROKERS = ("rabbitmq", "redis")
REDIS_TRANSPORTS = ("atomic", "stock")
POOLS = ("prefork", "threads", "gevent", "eventlet", "solo")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "FATAL")
DISTRIBUTIONS = {"Debian": ("12", "13")}
WORKER_KEYS = (
    *("name", "queues", "pool", "concurrency", "autoscale", "prefetch_multiplier", "time_limit", "soft_time_limit"),
    *("stop_wait", "max_tasks_per_child", "max_memory_per_child", "loglevel", "environment", "arguments", "hosts"),
)
PREFORK_ONLY = ("autoscale", "time_limit", "soft_time_limit", "max_tasks_per_child", "max_memory_per_child")
RESERVED_QUEUES = ("celery.dead", "celery.unroutable")
RESERVED_ENVIRONMENT = ("CELERY_APP", "CELERY_BROKER_URL", "CELERY_LOADER", "CELERY_PLATFORM", "CELERY_RELEASE")
# options of `celery worker` that a key says, so that preflight and health know of them
OPTION_KEYS = {f"--{key.replace('_', '-')}": key for key in WORKER_KEYS[1:12]}
OPTION_KEYS |= {"-Q": "queues", "-P": "pool", "-c": "concurrency", "-l": "loglevel", "-n": "name", "--hostname": "name"}
BOOLEANS = (
    *SWITCHES.values(),
    *("celery_handover", "celery_message_signing", "celery_release_again", "celery_web_preload"),
)
POSITIVE = (
    *("celery_time_limit", "celery_soft_time_limit", "celery_stop_wait", "celery_prefetch_multiplier"),
    *("celery_redis_visibility_timeout", "celery_rabbitmq_consumer_timeout", "celery_keep_releases"),
    *("celery_web_workers", "celery_delivery_limit", "celery_health_timeout"),
)
SAME_EVERYWHERE = (
    *(
        "celery_broker",
        "celery_redis_transport",
        "celery_app",
        "celery_app_source",
        "celery_queues",
        "celery_beat_enabled",
    ),
    *("celery_web_enabled", "celery_database_enabled", "celery_flower_enabled", "celery_message_signing"),
    *("celery_release", "celery_serial"),
)
SECRETS = ("_password", "_secret_key", "_signing_key")
DOTTED = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*"
HOST = r"|([A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?"
QUEUE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,199}\Z")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Args:
        variable: the variable, group or host that it is about.
        found: what was found there.
        allowed: what may be there.
        advice: what to do.
        level: 'error' stops the deployment, 'warning' is only said.
        hosts: the hosts that it is true of, empty where it is true of all.
    """

    variable: str
    found: str
    allowed: str
    advice: str = ""
    level: str = "error"
    hosts: tuple[str, ...] = ()

    def render(self) -> str:
        """Return the problem as lines of text."""
        where = f" ({', '.join(self.hosts)})" if self.hosts else ""
        lines = [f"{self.variable}{where}", f"   found:   {self.found}", f"   allowed: {self.allowed}"]
        return "\n".join([*lines, f"   do:      {self.advice}"] if self.advice else lines)


def render(problems: Sequence[Problem]) -> str:
    """Return problems as one numbered text."""
    count = f"{len(problems)} problems" if len(problems) > 1 else "1 problem"
    numbered = "\n".join(f"{number}. {problem.render()}" for number, problem in enumerate(problems, 1))
    return f"Nothing was changed: the inventory has {count}.\n{numbered}"


def suggest(word: str, words: Iterable[str], otherwise: str) -> str:
    """Return 'Did you mean …?' for the nearest of `words`, or the other advice."""
    near = difflib.get_close_matches(word, list(words), 1, 0.6)
    return f"Did you mean {near[0]}?" if near else otherwise


def _whole(value: Any, least: int = 1) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _share(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[1-9]\d?%|100%", value) is not None


# --- one host's variables --------------------------------------------------------------------------------------------


def check_values(variables: Variables) -> Iterator[Problem]:
    """Check the variables that stand for themselves: switches, numbers, ports, names."""
    for name in BOOLEANS:
        if name in variables and not isinstance(variables[name], bool):
            advice = f"On the command line: -e '{{\"{name}\": false}}'" if isinstance(variables[name], str) else ""
            yield Problem(name, repr(variables[name]), "true or false, without quotes", advice)
    for name in POSITIVE:
        if name in variables and not _whole(variables[name]):
            yield Problem(name, repr(variables[name]), "a whole number of at least 1, without quotes")
    for name, value in variables.items():
        if name.endswith("_port") and not (_whole(value) and value < 65536):
            yield Problem(name, repr(value), "a port, 1 to 65535, without quotes")
        if name.endswith(SECRETS) and (not isinstance(value, str) or not value.strip()):
            yield Problem(
                name, "nothing", "a text that is not empty", f"Remove {name}: one is generated, or set it from a vault."
            )
    serial = variables.get("celery_serial", [1])
    if not isinstance(serial, list) or not serial or not all(_whole(step) or _share(step) for step in serial):
        allowed = "a list of numbers of hosts or shares of all, such as [1, 50%]"
        yield Problem("celery_serial", repr(serial), allowed)
    broker = variables.get("celery_broker")
    if broker is not None and broker not in BROKERS:
        yield Problem("celery_broker", repr(broker), " or ".join(BROKERS), suggest(str(broker), BROKERS, ""))
    transport = variables.get("celery_redis_transport")
    if transport is not None and transport not in REDIS_TRANSPORTS:
        allowed = " or ".join(REDIS_TRANSPORTS)
        advice = suggest(str(transport), REDIS_TRANSPORTS, "")
        yield Problem("celery_redis_transport", repr(transport), allowed, advice)
    elif transport == "stock" and broker == "redis":
        yield Problem(
            "celery_redis_transport",
            "stock: a worker that is killed while it takes a task loses it; what else it had in hand waits for "
            "celery_redis_visibility_timeout; a task that kills its worker each time comes back without end; one that "
            "a worker does not know, such as a new one in the middle of a release, is dropped",
            "atomic, which loses none",
            "Remove it, unless tasks may be lost.",
            "warning",
        )
    operators = variables.get("celery_operators", [])
    if not isinstance(operators, list) or not all(
        isinstance(item, str) and re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", item) for item in operators
    ):
        yield Problem("celery_operators", repr(operators), "a list of users' login names")
    if variables.get("celery_web_enabled") is True:
        yield from _check_web(variables)


def _check_web(variables: Variables) -> Iterator[Problem]:
    """Check the web side: what gunicorn serves, and how its health is asked for."""
    host, path = variables.get("celery_web_host", ""), variables.get("celery_web_health_path", "/")
    if not isinstance(host, str) or not re.fullmatch(HOST, host):
        allowed = "a name or address, with :PORT where that is not 80, such as tasks.example.org"
        advice = "Leave out the scheme and the page." if "/" in str(host) else ""
        yield Problem("celery_web_host", repr(host), allowed, advice)
    if not isinstance(path, str) or not re.fullmatch(r"/[!-~]*", path) or "#" in path:
        advice = "Leave out the scheme and the host; celery_web_host is the host." if "://" in str(path) else ""
        yield Problem("celery_web_health_path", repr(path), "a page that begins with /, such as /health/", advice)
    entry = variables.get("celery_web_app")
    if not isinstance(entry, str) or not re.fullmatch(rf"{DOTTED}:[A-Za-z_][\w.]*(\(.*\))?", entry):
        yield Problem(
            "celery_web_app",
            repr(entry),
            "module:callable, such as proj.wsgi:application",
            "Correct it, or leave the group web out if the application has no web side.",
        )


def check_app(variables: Variables) -> Iterator[Problem]:
    """Check the application: its name, environment and release commands."""
    app = variables.get("celery_app")
    if not isinstance(app, str) or not re.fullmatch(rf"{DOTTED}(:[A-Za-z_][\w.]*)?", app):
        yield Problem("celery_app", repr(app), "what `celery -A` takes, such as proj, proj.celery or proj.celery:app")
    yield from _environment("celery_app_environment", variables.get("celery_app_environment", {}))
    if variables.get("celery_database_enabled") and "DATABASE_URL" in (variables.get("celery_app_environment") or {}):
        yield Problem(
            "celery_app_environment.DATABASE_URL",
            "set by you and by the platform",
            "one of them",
            "Leave the group database out, or set celery_database_enabled: false, to use a database of your own.",
        )
    release = variables.get("celery_release", "new")
    if not isinstance(release, str) or not re.fullmatch(r"new|previous|current|[0-9a-f]{12}", release):
        yield Problem("celery_release", repr(release), "new, previous, current, or an id that `make releases` shows")
    commands = variables.get("celery_app_release_commands", [])
    if not isinstance(commands, list) or not all(isinstance(item, str) and item.strip() for item in commands):
        yield Problem("celery_app_release_commands", repr(commands), "a list of commands, each a text")


def _environment(where: str, environment: Any) -> Iterator[Problem]:
    if not isinstance(environment, Mapping):
        yield Problem(where, repr(environment), "a mapping of names to values")
        return
    for name, value in environment.items():
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
            yield Problem(f"{where}.{name}", "this name", "letters, digits and _, no digit first")
        elif name in RESERVED_ENVIRONMENT:
            yield Problem(f"{where}.{name}", "set by you", "set by the platform", "Remove it.")
        elif isinstance(value, bool) or not isinstance(value, str | int | float):
            yield Problem(f"{where}.{name}", repr(value), "a text", "Programs see text: write it in quotes.")
        elif re.search(r"[\n\r\0]", str(value)):
            yield Problem(f"{where}.{name}", "more than one line", "one line", "Encode it, with base64 say.")


def check_source(variables: Variables, sources: Mapping[str, Mapping[str, Any]]) -> Iterator[Problem]:
    """Check the application's folder and what its lock says.

    Args:
        variables: a host's variables.
        sources: by path: `exists`, `error` (why it has no usable lock), `advice`, `packages` (names, None where the
            list is not complete).
    """
    source = variables.get("celery_app_source")
    if not isinstance(source, str) or not source:
        yield Problem("celery_app_source", repr(source), "the path of your application's folder on this machine")
        return
    state = sources.get(source)
    if state is None:
        return
    if not state.get("exists"):
        yield Problem(
            "celery_app_source",
            f"{source}, which does not exist",
            "a folder on this machine",
            "Set it to your application.",
        )
        return
    if state.get("error"):
        yield Problem(
            "celery_app_source",
            str(state["error"]),
            "a folder with requirements.lock, pylock.toml, uv.lock or requirements.txt",
            str(state.get("advice", "")),
        )
        return
    packages = state.get("packages")
    if packages is None:  # not known before it is built
        return
    if "celery" not in packages:
        yield Problem("celery_app_source", f"{source}, whose lock lacks celery", "a lock with celery", "Lock it.")
    for worker in _workers(variables):
        pool = worker.get("pool")
        if pool in ("gevent", "eventlet") and pool not in packages:
            yield Problem(
                f"celery_workers: {worker.get('name')}: pool",
                f"{pool}, which the lock of {source} lacks",
                "a pool whose package the application brings",
                f"Add {pool} to the application's requirements and lock again, or choose threads.",
            )


# --- workers and queues ----------------------------------------------------------------------------------------------


def _workers(variables: Variables) -> list[Mapping[str, Any]]:
    workers = variables.get("celery_workers")
    return [item for item in workers if isinstance(item, Mapping)] if isinstance(workers, list) else []


def _queues(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def check_workers(variables: Variables) -> Iterator[Problem]:
    """Check each entry of celery_workers, and that no two make one program."""
    workers = variables.get("celery_workers")
    if not isinstance(workers, list) or not workers:
        yield Problem(
            "celery_workers", repr(workers), "a list with at least one worker: [{name: celery, queues: [celery]}]"
        )
        return
    programs: dict[str, int] = {}
    for number, worker in enumerate(workers, 1):
        if not isinstance(worker, Mapping):
            yield Problem(f"celery_workers, entry {number}", repr(worker), "a mapping with name and queues")
            continue
        name = worker.get("name")
        if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", name):
            yield Problem(
                f"celery_workers, entry {number}: name",
                repr(name),
                "lower-case letters, digits and hyphens, 32 at most",
                "The name becomes part of a program's name (celery-<name>).",
            )
        else:
            program = "celery" if name == "celery" else f"celery-{name}"
            if program in programs:
                yield Problem(
                    "celery_workers",
                    f"two workers named {name} (entries {programs[program]} and {number}), so two programs {program}",
                    "each name once",
                    "Rename one of them.",
                )
            programs.setdefault(program, number)
        yield from _check_worker(f"celery_workers: {name or f'entry {number}'}", worker, variables)


def _check_worker(where: str, worker: Mapping[str, Any], variables: Variables) -> Iterator[Problem]:
    for key in worker:
        if key not in WORKER_KEYS:
            allowed = ", ".join(WORKER_KEYS)
            yield Problem(f"{where}: {key}", "an unknown key", allowed, suggest(str(key), WORKER_KEYS, "Remove it."))
    yield from _check_queue_names(f"{where}: queues", worker.get("queues"))
    pool = worker.get("pool", "prefork")
    if pool not in POOLS:
        yield Problem(f"{where}: pool", repr(pool), ", ".join(POOLS), suggest(str(pool), POOLS, ""))
    for key in ("prefetch_multiplier", "max_tasks_per_child", "max_memory_per_child", "stop_wait"):
        if worker.get(key) is not None and not _whole(worker[key]):
            yield Problem(f"{where}: {key}", repr(worker[key]), "a whole number of at least 1, without quotes")
    concurrency = worker.get("concurrency")
    if concurrency is not None and concurrency != "auto" and not _whole(concurrency):
        yield Problem(f"{where}: concurrency", repr(concurrency), "a whole number of at least 1, or auto")
    elif pool == "solo" and concurrency not in (None, 1):
        yield Problem(
            f"{where}: concurrency", f"{concurrency} with pool solo", "1: solo runs one task at a time", "Add workers."
        )
    if pool in POOLS and pool != "prefork":
        for key in PREFORK_ONLY:
            if worker.get(key) is not None:
                yield Problem(
                    f"{where}: {key}",
                    f"set with pool {pool}",
                    "pool prefork: the others do not enforce it",
                    "Remove one.",
                )
    yield from _check_autoscale(where, worker, variables)
    yield from _check_limits(where, worker, variables, pool)
    level = worker.get("loglevel")
    if level is not None and str(level).upper() not in LOG_LEVELS:
        yield Problem(
            f"{where}: loglevel", repr(level), ", ".join(LOG_LEVELS), suggest(str(level).upper(), LOG_LEVELS, "")
        )
    yield from _environment(f"{where}: environment", worker.get("environment") or {})
    arguments = worker.get("arguments") or []
    if not isinstance(arguments, list) or not all(isinstance(item, str) for item in arguments):
        yield Problem(f"{where}: arguments", repr(arguments), "a list of texts, such as ['--without-gossip']")
        arguments = []
    for argument in arguments:
        option = argument.split("=")[0]
        if option in OPTION_KEYS:
            yield Problem(
                f"{where}: arguments", argument, "options that no key says", f"Use the key {OPTION_KEYS[option]}."
            )
        elif re.search(r"\s[;#]|[\n\r'\"]", argument):
            yield Problem(f"{where}: arguments", repr(argument), "texts without quotes, line ends and comments")
    hosts = worker.get("hosts")
    if hosts is not None and (not isinstance(hosts, list) or not all(isinstance(item, str) for item in hosts)):
        yield Problem(f"{where}: hosts", repr(hosts), "a list of hosts or groups")


def _check_autoscale(where: str, worker: Mapping[str, Any], variables: Variables) -> Iterator[Problem]:
    autoscale = worker.get("autoscale")
    if autoscale is None:
        return
    match = re.fullmatch(r"(\d+),(\d+)", str(autoscale))
    if not match or int(match[1]) < int(match[2]) or int(match[1]) < 1:
        yield Problem(f"{where}: autoscale", repr(autoscale), "'MAX,MIN', such as '8,2', the larger first")
    if worker.get("concurrency") is not None:
        yield Problem(f"{where}: autoscale", "set beside concurrency", "one of them", "Remove one.")
    if variables.get("celery_broker") == "rabbitmq":
        yield Problem(
            f"{where}: autoscale",
            "set with celery_broker: rabbitmq",
            "concurrency: Celery cannot autoscale on quorum queues",
            "Set concurrency instead, or add workers.",
        )


def _check_limits(where: str, worker: Mapping[str, Any], variables: Variables, pool: Any) -> Iterator[Problem]:
    """Check a worker's own limits against each other and against what waits for them."""
    if pool != "prefork":
        return
    for key in ("time_limit", "soft_time_limit"):
        if worker.get(key) is not None and not _whole(worker[key]):
            yield Problem(f"{where}: {key}", repr(worker[key]), "whole seconds, at least 1, without quotes")
            return
    hard = worker.get("time_limit", variables.get("celery_time_limit"))
    soft = worker.get("soft_time_limit")
    if soft is not None and _whole(hard) and soft >= hard:
        yield Problem(f"{where}: soft_time_limit", f"{soft} s, with a time limit of {hard} s", f"less than {hard} s")
    if worker.get("time_limit") is None:
        return
    stop = worker.get("stop_wait")
    if _whole(stop) and stop <= hard:
        yield Problem(f"{where}: stop_wait", f"{stop} s, with a time limit of {hard} s", f"more than {hard} s")
    if stop is None and _whole(variables.get("celery_stop_wait")) and _whole(variables.get("celery_time_limit")):
        stop = hard + variables["celery_stop_wait"] - variables["celery_time_limit"]
    for broker, name in (
        ("redis", "celery_redis_visibility_timeout"),
        ("rabbitmq", "celery_rabbitmq_consumer_timeout"),
    ):
        limit = variables.get(name)
        if broker == "redis" and variables.get("celery_redis_transport") != "stock":
            continue
        if variables.get("celery_broker") == broker and _whole(limit) and _whole(stop) and limit <= stop:
            yield Problem(
                name,
                f"{limit} s, with a time limit of {hard} s for {where.removeprefix('celery_workers: ')}, "
                f"which may take {stop} s to stop",
                f"more than {stop} s",
                "Raise it: otherwise a task that still runs is given to another worker too.",
            )


def check_chain(variables: Variables) -> Iterator[Problem]:
    """Check that each limit is longer than what it waits for."""
    chain = [
        ("celery_stop_wait", "celery_time_limit", "a stop would kill tasks that are within their limit"),
        ("celery_time_limit", "celery_soft_time_limit", "the soft limit would never come"),
    ]
    if variables.get("celery_broker") == "redis" and variables.get("celery_redis_transport") == "stock":
        chain.append(
            (
                "celery_redis_visibility_timeout",
                "celery_stop_wait",
                "a running task would be given to another worker too",
            )
        )
    if variables.get("celery_broker") == "rabbitmq":
        chain.append(
            ("celery_rabbitmq_consumer_timeout", "celery_stop_wait", "RabbitMQ would close the worker's connection")
        )
    for larger, smaller, why in chain:
        high, low = variables.get(larger), variables.get(smaller)
        if _whole(high) and _whole(low) and high <= low:
            yield Problem(larger, f"{high} s", f"more than {smaller} ({low} s)", f"Raise it: otherwise {why}.")
    policy = variables.get("redis_maxmemory_policy")
    if policy is not None and policy != "noeviction":
        broker = variables.get("celery_broker") == "redis"
        lost = "tasks" if broker else "results"
        yield Problem(
            "redis_maxmemory_policy",
            repr(policy),
            "noeviction",
            f"With any other policy Redis throws {lost} away when memory runs short.",
            "error" if broker else "warning",
        )


def _check_queue_names(where: str, queues: Any) -> Iterator[Problem]:
    if not isinstance(queues, list) or not queues:
        yield Problem(where, repr(queues), "a list of at least one queue, such as [celery]")
        return
    for queue in queues:
        if not isinstance(queue, str) or not QUEUE.match(queue) or queue.startswith("amq."):
            yield Problem(where, repr(queue), "letters, digits, and _ . : - inside, 200 at most, not amq.…")
        elif queue in RESERVED_QUEUES or queue.startswith("celery_delayed_"):
            yield Problem(where, queue, "a name that the platform does not use itself", "Rename it.")
        elif queues.count(queue) > 1:
            yield Problem(where, f"{queue} more than once", "each queue once")


def check_queues(variables: Variables, readers: Sequence[Mapping[str, Any]], listed: bool) -> Iterator[Problem]:
    """Check that each queue is read, and that what is read is a queue.

    Args:
        variables: a host's variables.
        readers: the workers of all hosts.
        listed: whether the user set celery_queues.
    """
    queues = variables.get("celery_queues")
    if queues is None:
        return
    yield from _check_queue_names("celery_queues", queues)
    names = _queues(queues)
    read = {queue: worker.get("name") for worker in readers for queue in _queues(worker.get("queues"))}
    for queue in names:
        if queue not in read:
            yield Problem(
                "celery_queues",
                f"{queue}, which no worker reads",
                f"queues that a worker reads: {', '.join(sorted(read)) or 'none'}",
                suggest(queue, read, f"Add {queue} to the queues of a worker in celery_workers."),
            )
    for queue, worker in read.items():
        if listed and queue not in names:
            yield Problem(
                f"celery_workers: {worker}: queues",
                f"{queue}, which celery_queues lacks",
                ", ".join(names),
                suggest(queue, names, f"Add {queue} to celery_queues."),
            )
    if variables.get("celery_broker") == "rabbitmq":
        for longer in names:
            for shorter in names:
                if longer.endswith(f".{shorter}"):
                    yield Problem(
                        "celery_queues",
                        f"{longer} beside {shorter}",
                        "on RabbitMQ, no queue that is the dotted end of another",
                        f"Rename one: delayed tasks of {longer} would reach {shorter} too.",
                    )


# --- the platform ----------------------------------------------------------------------------------------------------


def check_groups(groups: Mapping[str, Sequence[str]], variables: Variables, user: Iterable[str]) -> Iterator[Problem]:
    """Check which hosts run what.

    Args:
        groups: hosts by group. A group that is left out, or has no host, is a part that does not run.
        variables: a host's variables.
        user: the variables that the user set. A part that the user switched on needs a host.
    """
    wanted: list[tuple[str, int, int | None, str]] = [
        ("brokers", 1, 1, ""),
        ("results", 1, 1, ""),
        ("workers", 1, None, ""),
    ]
    asked = set(user)
    for name, switch in SWITCHES.items():
        enabled = variables.get(switch) is True
        most = None if name == "web" or (name == "monitoring" and not enabled) else 1
        wanted.append((name, int(enabled and switch in asked), most, f", or {switch}: false" if enabled else ""))
    for name, least, most, otherwise in wanted:
        hosts = list(groups.get(name, []))
        allowed = "exactly one host" if least == most else "at least one host" if least else "at most one host"
        if len(hosts) < least or (most is not None and len(hosts) > most):
            found = f"{len(hosts)} hosts ({', '.join(hosts)})" if hosts else "no host"
            near = suggest(name, _other_groups(groups), "") if not hosts else ""
            advice = f"{near} " if near else ""
            change = f"Leave one host in it{otherwise}." if hosts else f"List a host under it{otherwise}."
            yield Problem(f"group {name}", found, allowed, advice + change)
        elif not hosts:
            yield from _check_spelling(name, groups)
    if not groups.get("proxy"):
        yield from _check_spelling("proxy", groups)


def _other_groups(groups: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the groups with hosts that are none of the platform's."""
    return [name for name, hosts in groups.items() if hosts and name not in (*GROUPS, "all", "ungrouped", "lab")]


def _check_spelling(name: str, groups: Mapping[str, Sequence[str]]) -> Iterator[Problem]:
    """Warn where a group that is left out may only be misspelt."""
    for near in difflib.get_close_matches(name, _other_groups(groups), 1, 0.6):
        yield Problem(
            f"group {near}",
            f"a group that the platform does not know, and no host in the group {name}",
            ", ".join(GROUPS),
            f"Did you mean {name}? Then rename it: without that group the platform runs without its part.",
            "warning",
        )


def check_limit(patterns: Iterable[str], groups: Mapping[str, Sequence[str]]) -> Iterator[Problem]:
    """Check that each name in --limit exists: Ansible itself skips one that does not.

    Args:
        patterns: what --limit names; patterns with wildcards, regular expressions and files are not judged.
        groups: hosts by group, with the group all.
    """
    known = {*groups, *groups.get("all", []), "localhost"}
    for pattern in patterns:
        name = pattern.lstrip("&!")
        if not re.search(r"[~*?\[@]", name) and name not in known:
            advice = suggest(name, sorted(known), "Correct it.")
            yield Problem("LIMIT= (--limit)", name, "hosts and groups of the inventory", advice)


def check_host(host: str, facts: Mapping[str, Any]) -> Iterator[Problem]:
    """Check what was learnt from a host; what was not gathered is not judged."""
    distribution = facts.get("distribution")
    major = str(facts.get("distribution_major_version", ""))
    allowed = " or ".join(f"{name} {version}" for name, versions in DISTRIBUTIONS.items() for version in versions)
    if distribution is not None and major not in DISTRIBUTIONS.get(str(distribution), ()):
        yield Problem(f"host {host}", f"{distribution} {major}", allowed, "Install one of these, or take the host out.")
    machine = facts.get("architecture")
    if machine is not None and machine not in ("x86_64", "aarch64"):
        yield Problem(f"host {host}", f"architecture {machine}", "x86_64 or aarch64", "Take the host out.")
    manager = facts.get("service_mgr")
    if manager is not None and manager != "systemd":
        yield Problem(f"host {host}", f"{manager} as its init", "systemd", "Take the host out.")


def check_names(user: Iterable[str], known: Sequence[str]) -> Iterator[Problem]:
    """Check that each celery_… variable that the user set exists."""
    for name in sorted(user):
        if known and name.startswith("celery_") and name not in known:
            yield Problem(
                name, "a variable that does not exist", "see docs/variables.md", suggest(name, known, "Remove it.")
            )


def _placed(worker: Mapping[str, Any], host: str, groups: Mapping[str, Sequence[str]]) -> bool:
    places = worker.get("hosts")
    return not isinstance(places, list) or any(place == host or host in groups.get(place, ()) for place in places)


def check(platform: Mapping[str, Any]) -> list[Problem]:
    """Return all problems of a platform, errors first.

    Args:
        platform: `groups` (hosts by group), `limit` (the patterns of --limit), `known` (names of variables), `sources`
            (see check_source), and `hosts`, a mapping by name of `vars` (values), `user` (names that the user set),
            `facts` (without ansible_), `errors` (what could not be evaluated, by variable).
    """
    groups: Mapping[str, Sequence[str]] = platform.get("groups", {})
    hosts: Mapping[str, Mapping[str, Any]] = platform.get("hosts", {})
    found: dict[Problem, list[str]] = {}

    def note(problems: Iterable[Problem], host: str = "") -> None:
        for problem in problems:
            where = found.setdefault(problem, [])
            if host and host not in where:
                where.append(host)

    readers = [
        worker
        for host in groups.get("workers", [])
        for worker in _workers(hosts.get(host, {}).get("vars", {}))
        if _placed(worker, host, groups)
    ]
    first: Mapping[str, Any] = next(iter(hosts.values()), {})
    note(check_groups(groups, first.get("vars", {}), first.get("user", ())))
    note(check_limit(platform.get("limit", ()), groups))
    left_out = {switch for group, switch in SWITCHES.items() if not groups.get(group)}
    for name in SAME_EVERYWHERE:
        values = {repr(state.get("vars", {}).get(name)) for state in hosts.values()}
        if len(values) > 1:
            note([Problem(name, " and ".join(sorted(values)), "one value for all hosts", "Set it in group_vars/all.")])
    for host, state in hosts.items():
        variables: Variables = {
            name: False if value is True and name in left_out else value
            for name, value in state.get("vars", {}).items()
        }
        user = set(state.get("user", ()))
        checks: list[Callable[[Variables], Iterable[Problem]]] = [check_values, check_app, check_chain]
        checks += [check_workers] if host in groups.get("workers", []) else []
        for run in checks:
            note(run(variables), host)
        note(check_source(variables, platform.get("sources", {})), host)
        note(check_queues(variables, readers, "celery_queues" in user), host)
        note(check_names(user, platform.get("known", ())), host)
        note(check_host(host, state.get("facts", {})))
        note(
            [Problem(name, str(why), "a value that can be evaluated") for name, why in state.get("errors", {}).items()],
            host,
        )
        for worker in _workers(variables):
            note(_check_places(worker, hosts, groups), host)
    problems = [
        replace(problem, hosts=tuple(sorted(where)) if 0 < len(where) < len(hosts) else ())
        for problem, where in found.items()
    ]
    return sorted(problems, key=lambda problem: problem.level != "error")


def _check_places(
    worker: Mapping[str, Any], hosts: Mapping[str, Any], groups: Mapping[str, Sequence[str]]
) -> Iterator[Problem]:
    places = worker.get("hosts")
    for place in places if isinstance(places, list) else []:
        if place not in hosts and place not in groups:
            yield Problem(
                f"celery_workers: {worker.get('name')}: hosts",
                str(place),
                "hosts and groups of the inventory",
                suggest(str(place), [*hosts, *groups], "Correct it."),
            )
