"""Preflight of an application against the platform it is to run on: ``python -m celery_on_hosts.check --app tasks``.

Run with a release's Python and the host's environment, before ``current`` moves. Exit codes: 0 it fits (warnings
are printed), 1 it does not, 2 it does not import, 3 the check could not run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import traceback
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from celery import Celery, Task
from celery.app.routes import MapRoute
from celery.app.utils import find_app
from celery.exceptions import QueueNotFound
from kombu.common import Broadcast
from kombu.compression import get_encoder
from kombu.entity import Queue
from kombu.exceptions import OperationalError
from kombu.serialization import dumps

from . import garbage
from .config import Platform, PlatformError
from .loader import Loader, platform_queues

OK, UNFIT, NO_IMPORT, NO_CHECK = range(4)

# Settings of the application's own that weaken the promise: name, the values that do, and what they cost.
_WEAK: tuple[tuple[str, tuple[Any, ...], str], ...] = (
    ("task_acks_late", (False,), "a task is lost when its worker dies while it runs"),
    ("task_reject_on_worker_lost", (False, None), "a task is lost when the pool process that runs it dies"),
    ("task_publish_retry", (False,), "a publish is not tried again when the broker is away for a moment"),
    ("task_default_delivery_mode", (1, "transient"), "messages are lost when the broker stops"),
    ("task_protocol", (1,), "messages of protocol 1 carry no headers to route and trace by"),
    ("worker_prefetch_multiplier", (0,), "one worker takes every waiting task and the others idle"),
    ("worker_enable_remote_control", (False,), "workers do not answer inspect and status"),
    ("broker_connection_retry", (False,), "a worker stops when the broker is away for a moment"),
    ("task_acks_on_failure", (False,), "each task that fails ends among the dead letters"),
    ("task_acks_on_timeout", (False,), "a task that exceeds its time limit runs again, and again"),
)

# Settings that lead away from the broker that the platform gives; CELERY_BROKER_URL does not replace these.
_ADDRESSES = ("broker_read_url", "broker_write_url", "broker_transport", "broker_user", "broker_password",
              "broker_vhost", "broker_port")  # fmt: skip

_SKIP_CHECKS = "CELERY_SKIP_CHECKS"  # Celery's, for Django's checks
_UNSAFE_CONTENT = ("pickle", "application/x-python-serialize")


class ImportFailed(Exception):
    """The application does not import; the message says where and why."""


@dataclass
class Report:
    """What the check found. ``routes`` maps each queue to the tasks and settings that send to it."""

    app: str
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    routes: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    tasks: int = 0
    declared: list[str] = field(default_factory=list)

    @property
    def status(self) -> str:
        """``ok``, ``warning`` or ``error``."""
        return "error" if self.errors else "warning" if self.warnings else "ok"

    def as_json(self) -> dict[str, Any]:
        """The report as it is printed with --json."""
        return {
            "status": self.status,
            "app": self.app,
            "tasks": self.tasks,
            "queues": {queue: sorted(users) for queue, users in sorted(self.routes.items())},
            "errors": self.errors,
            "warnings": self.warnings,
            "declared": self.declared,
        }


def import_app(name: str) -> Celery:
    """Import the application as ``celery -A`` does, with all its task modules.

    Args:
        name: what ``-A`` takes.

    Raises:
        ImportFailed: it does not import, or is no Celery application.
    """
    try:
        app = find_app(name)
        if not isinstance(app, Celery):
            raise ImportFailed(f"-A {name} gives {type(app).__name__}, not a Celery application.")
        app.loader.import_default_modules()
        app.finalize()
        app.conf.finalize()
    except (ImportFailed, PlatformError):
        raise
    except (Exception, SystemExit) as error:
        raise ImportFailed(_explain(name, error)) from error
    return app


def check_django(name: str) -> list[str]:
    """Run Django's own checks, if the application is a Django project, and return the errors.

    They import URLs, views and admin. Celery would run them at each start of a worker, and tell nobody what they found.

    Args:
        name: what ``-A`` takes, for messages.

    Raises:
        ImportFailed: what the checks import does not import.
    """
    if "django.apps" not in sys.modules:
        return []
    from django.apps import apps
    from django.core.checks import run_checks

    try:
        found = run_checks() if apps.ready else []
    except (Exception, SystemExit) as error:
        raise ImportFailed(_explain(name, error)) from error
    return [f"Django's check: {one}" for one in found if one.is_serious() and not one.is_silenced()]


def _explain(name: str, error: BaseException) -> str:
    """Say in one or two lines what failed and where, in the application's code rather than in Celery's."""
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, SyntaxError) and error.filename:
        return f"-A {name} does not import: {what}\n  {error.filename}, line {error.lineno}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen") and Path(frame.filename) != Path(__file__)
    ]
    ours = [frame for frame in frames if "site-packages" not in frame.filename and "/lib/python" not in frame.filename]
    if not ours:
        if isinstance(error, ModuleNotFoundError) and f"{name.partition(':')[0]}.".startswith(f"{error.name}."):
            missing = f"there is no module {error.name}"
            return f"-A {name} does not import: {missing}. Is celery_app right, and does the release hold it?"
        if isinstance(error, AttributeError):
            return f"-A {name} names a module without a Celery application: {error}. Write module:attribute."
    lines = [f"-A {name} does not import: {what}"]
    for frame in ours[-1:]:
        lines.append(f"  {frame.filename}, line {frame.lineno}: {frame.line}")
    if isinstance(error, ModuleNotFoundError):
        lines.append(f"  Add the package that holds {error.name} to the application's lock.")
    return "\n".join(lines)


def check(app: Celery, platform: Platform, name: str) -> Report:
    """Compare the application with the platform. Nothing is sent anywhere.

    Args:
        app: the imported application.
        platform: what it is to run on.
        name: what ``-A`` takes, for messages.
    """
    report = Report(name, tasks=sum(not _builtin(task) for task in app.tasks))
    if not isinstance(app.loader, Loader):
        report.errors.append(
            f"the application chooses its own loader ({type(app.loader).__module__}.{type(app.loader).__name__}), so "
            "it gets none of the platform's settings. Remove loader= from Celery(…)."
        )
        return report
    _check_routes(app, platform, report)
    _check_settings(app, platform, report)
    _check_tasks(app, platform, report)
    _check_calls(app, report)
    return report


def _check_routes(app: Celery, platform: Platform, report: Report) -> None:
    for source, queue in _routes(app, report):
        report.routes[queue].add(source)
    read = ", ".join(platform.queues)
    for queue, sources in sorted(report.routes.items()):
        if queue not in platform.queues:
            report.errors.append(
                f"no worker reads queue {queue!r}, which {_few(sources)} uses. Queues that are read: {read}. "
                f"Add {queue!r} to the queues of an entry of celery_workers, or correct the route."
            )
    known = app.amqp.queues
    for program in platform.programs:
        for queue in program.queues:
            if queue not in known:
                report.errors.append(
                    f"worker {program.program} reads queue {queue!r}, which is not among the application's own "
                    "task_queues. Remove task_queues from the application, the platform declares its queues itself, "
                    f"or add {queue!r} to it."
                )
    if platform.broker == "rabbitmq":
        _check_rabbitmq_queues(app, report)


def _check_rabbitmq_queues(app: Celery, report: Report) -> None:
    names = sorted(app.amqp.queues)
    for name in names:
        queue = app.amqp.queues[name]
        if isinstance(queue, Broadcast):
            continue
        arguments = queue.queue_arguments or {}
        quorum = arguments.get("x-queue-type") == "quorum"
        if not quorum:
            report.warnings.append(
                f"queue {name!r} of the application's own task_queues is not a quorum queue: it is lost with its "
                "broker, and ETA tasks wait in a worker. Remove task_queues, the platform declares its queues itself."
            )
        elif queue.max_priority is not None or "x-max-priority" in arguments:
            report.errors.append(
                f"queue {name!r} has a maximum priority, which RabbitMQ refuses on a quorum queue. "
                "Remove task_queue_max_priority; RabbitMQ 4 gives quorum queues two priorities without it."
            )
        if quorum and queue.exchange and queue.exchange.type == "direct":
            report.warnings.append(
                f"queue {name!r} has a direct exchange: its ETA tasks block a worker until they are due. "
                "Use a topic exchange."
            )
        for other in names:
            if other.endswith(f".{name}"):
                report.errors.append(
                    f"queue {other!r} ends in the name of queue {name!r}: a task with an ETA for the first would "
                    "also run from the second. Rename one."
                )


def _routes(app: Celery, report: Report) -> Iterator[tuple[str, str]]:
    """Every (who, queue) that is known without sending anything."""
    yield "task_default_queue", app.conf.task_default_queue
    for name in app.amqp.queues:
        yield "task_queues", name
    for router in app.amqp.routes:
        if isinstance(router, MapRoute):
            for pattern, route in [*router.map.items(), *((p.pattern, r) for p, r in router.patterns.items())]:
                queue = _queue_name(route)
                if queue:
                    yield f"task_routes[{pattern}]", queue
    for name, task in sorted(app.tasks.items()):
        if _builtin(name):
            continue
        options = {key: value for key, value in task._get_exec_options().items() if value is not None}
        if options.get("queue"):
            yield f"task {name}", _queue_name(options)
            continue
        try:
            route = app.amqp.router.route(options, name, task_type=task)
        except QueueNotFound:
            continue  # one of the names in task_routes, seen above
        except Exception as error:
            report.warnings.append(f"the router of task {name} needs its arguments to decide ({error!r}): not checked.")
            continue
        if route.get("queue"):
            yield f"task {name}", _queue_name(route)
    for name, entry in sorted((app.conf.beat_schedule or {}).items()):
        if not isinstance(entry, dict):
            continue
        queue = _queue_name(entry.get("options") or {})
        if queue:
            yield f"beat_schedule[{name}]", queue
        if entry.get("task") not in app.tasks:
            report.warnings.append(
                f"beat_schedule[{name}] sends {entry.get('task')!r}, a task that this application does not define."
            )


def _queue_name(route: Any) -> str:
    queue = route if isinstance(route, str) else dict(route).get("queue") or ""
    return str(queue.name if isinstance(queue, Queue) else queue)


def _check_settings(app: Celery, platform: Platform, report: Report) -> None:
    conf = app.conf
    for name, weak, cost in _WEAK:
        value = conf.get(name)
        if value in weak and platform.settings.get(name, "unset") != value and _set_by_app(app, name):
            report.warnings.append(f"{name} is {value!r} in the application: {cost}.")
    for name in _ADDRESSES:
        if conf.get(name) and name not in platform.settings and _set_by_app(app, name):
            report.errors.append(
                f"{name} is set in the application, which the platform's broker address does not replace. "
                "Remove it from the application's settings."
            )
    for name in ("accept_content", "result_accept_content"):
        unsafe = sorted(set(conf.get(name) or ()) & set(_UNSAFE_CONTENT))
        if unsafe:
            report.warnings.append(
                f"{name} has {', '.join(unsafe)}: whoever can write to the broker can run any code in a worker."
            )
    accepted = list(conf.accept_content or ())
    if platform.message_signing and accepted != ["auth"]:
        report.errors.append(
            f"celery_message_signing is on, but accept_content is {', '.join(accepted)}: messages that nobody signed "
            "would be run. Where the environment has CELERY_SECURITY_KEY, set accept_content to auth alone, "
            "task_serializer too, and call app.setup_security()."
        )
    for name in ("task_serializer", "result_serializer"):
        accepted = conf.get("result_accept_content" if name.startswith("result") else "accept_content")
        if accepted and conf.get(name) not in accepted:
            report.errors.append(
                f"{name} is {conf.get(name)!r}, but only {', '.join(accepted)} is accepted: each message would be "
                "refused. Use json, or set accept_content in the application too."
            )
    if conf.task_always_eager:
        report.errors.append("task_always_eager is on: tasks run in their caller and never reach a worker.")
    options = conf.broker_transport_options or {}
    if platform.broker == "rabbitmq" and options.get("confirm_publish") is False:
        report.warnings.append(
            "broker_transport_options turns confirm_publish off: a task can be lost between delay() and the broker."
        )
    if platform.broker == "redis" and platform.redis_transport == "atomic":
        ours = (platform.settings.get("broker_transport_options") or {}).get("visibility_timeout")
        visible = options.get("visibility_timeout")
        if ours and visible and visible > ours:
            report.warnings.append(
                f"broker_transport_options sets visibility_timeout to {visible} s: what a killed worker had in hand "
                f"comes back only then, not after {ours} s. Remove it, a task may take longer than that by now."
            )
    if platform.broker == "redis" and platform.redis_transport == "stock" and platform.max_time_limit_s:
        visible = options.get("visibility_timeout", 3600)
        if visible <= platform.max_time_limit_s:
            report.warnings.append(
                f"visibility_timeout is {visible} s, not longer than the longest task ({platform.max_time_limit_s:g} "
                "s): such a task is delivered again while it still runs."
            )


def _set_by_app(app: Celery, name: str) -> bool:
    """Whether the application has the setting itself, not from our layer or Celery's."""
    layers = app.conf.maps[:-2]
    return any(key in layer for layer in layers for key in app.conf._to_keys(name))


def _check_tasks(app: Celery, platform: Platform, report: Report) -> None:
    limit = platform.max_time_limit_s
    late = app.conf.task_acks_late
    for name, task in sorted(app.tasks.items()):
        if _builtin(name):
            continue
        if late and task.acks_late is False:
            report.warnings.append(f"task {name} has acks_late=False: it is lost when its worker dies while it runs.")
        if task.reject_on_worker_lost is False and app.conf.task_reject_on_worker_lost:
            report.warnings.append(f"task {name} has reject_on_worker_lost=False: it is lost when its process dies.")
        own = task.time_limit or app.conf.task_time_limit
        soft = task.soft_time_limit or app.conf.task_soft_time_limit
        if limit and own and own > limit:
            report.warnings.append(
                f"task {name} may run {own:g} s, but a worker's stop waits for {limit:g} s only: then it is killed and "
                "runs again. Lower its time_limit, or raise the worker's time limit in celery_workers."
            )
        elif limit and soft and not own and soft > limit:
            report.warnings.append(
                f"task {name} has a soft_time_limit of {soft:g} s, but the platform's time limit kills it after "
                f"{limit:g} s. Lower its soft_time_limit, or raise celery_time_limit."
            )


def _check_calls(app: Celery, report: Report) -> None:
    """Do for each task what ``delay()`` does, up to the message, and report what it raises.

    Celery checks a task's options there, and not where the task is made. The application's own code is left out, which
    may need real arguments or have effects: overridden methods, signal handlers, and routers, which _routes has asked.
    What the rest of its code raises, a property say, is a warning: it may be meant, and it may depend on the caller.
    """
    if app.conf.task_always_eager:
        return  # tasks would run; _check_settings has reported it
    errors: dict[str, set[str]] = defaultdict(set)
    warnings: dict[str, set[str]] = defaultdict(set)
    for name, task in app.tasks.items():
        if not _builtin(name):
            try:
                _call(app, task)
            except Exception as error:
                if _passes_through(Path.cwd(), error):
                    warnings[f"{type(error).__name__}: {error}"].add(name)
                else:
                    errors[_refusal(task, error)].add(name)
    for found, texts in ((errors, report.errors), (warnings, report.warnings)):
        texts += [f"delay() of {_few(names)} would raise {text}" for text, names in sorted(found.items())]


def _passes_through(folder: Path, error: Exception) -> bool:
    """Return whether code of the application's folder took part in an error."""
    frames = traceback.extract_tb(error.__traceback__)
    return any(Path(frame.filename).is_relative_to(folder) for frame in frames)


class _Router:
    """Routes to no queue, so that no router of the application is asked."""

    def route(self, options: dict[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
        return options


class _Producer:
    """Stands for the broker's; nothing is sent with it."""

    serializer = None

    @property
    def connection(self) -> _Producer:
        return self

    def _reraise_as_library_errors(self) -> contextlib.nullcontext[None]:
        return contextlib.nullcontext()


def _call(app: Celery, task: Any) -> None:
    """Call Celery's own ``apply_async`` for a task without arguments, and encode the message instead of sending it."""
    callee = object.__new__(type(task))  # copy.copy() returns the task itself
    callee.__dict__.update(task.__dict__, typing=False, _dump_pydantic_arguments=None)  # it has no arguments to check

    def encode(_: Any, __: str, message: Any, **options: Any) -> None:
        dumps(message.body, options.get("serializer") or app.conf.task_serializer)
        compression = options.get("compression") or app.conf.task_compression
        if compression:
            get_encoder(compression)

    amqp, send = app.amqp, app.amqp.send_task_message
    amqp.send_task_message = encode
    try:
        Task.apply_async(callee, shadow="check", producer=_Producer(), router=_Router(), ignore_result=True)
    finally:
        amqp.send_task_message = send


def _refusal(task: Any, error: Exception) -> str:
    hard, soft = task.time_limit, task.soft_time_limit
    if hard and soft and soft > hard:
        return (
            f"{type(error).__name__}: the soft time limit is {soft:g} s, longer than the hard one of {hard:g} s. Each "
            "is an option of the task or else a setting of the application (task_soft_time_limit, task_time_limit). "
            "Lower the soft limit or raise the hard one."
        )
    return f"{type(error).__name__}: {error}. Correct the options of the task, or the setting that they come from."


def _builtin(task: str) -> bool:
    return task.startswith(("celery.", "celery_on_hosts."))


def _few(names: set[str]) -> str:
    shown = sorted(names)[:3]
    return ", ".join(shown) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def declare(app: Celery, platform: Platform, timeout: float = 120.0) -> list[str]:
    """Declare every queue, exchange and binding at the broker, so that no producer meets a missing one.

    Declaring what is there already changes nothing.

    Args:
        app: the imported application.
        platform: what it is to run on.
        timeout: seconds to wait for the broker, which may be starting.

    Returns:
        the names of the queues.

    Raises:
        OperationalError: the broker cannot be reached.
        amqp.exceptions.PreconditionFailed: a queue exists with other arguments.
    """
    from kombu.transport import native_delayed_delivery as native

    queues = {queue.name: queue for queue in platform_queues(platform)}
    queues |= {name: queue for name, queue in app.amqp.queues.items() if not isinstance(queue, Broadcast)}
    with app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=None, timeout=timeout, interval_start=0.2, interval_max=1)
        channel = connection.default_channel
        for queue in queues.values():
            queue.bind(channel).declare()
        quorum = [queue for queue in queues.values() if _delays(queue)]
        if connection.transport.driver_type == "amqp" and quorum:
            native.declare_native_delayed_delivery_exchanges_and_queues(
                connection, app.conf.broker_native_delayed_delivery_queue_type
            )
            for queue in quorum:
                native.bind_queue_to_native_delayed_delivery_exchange(connection, queue)
    return sorted(queues)


def _delays(queue: Any) -> bool:
    """Whether RabbitMQ can hold the queue's ETA tasks until they are due."""
    return (queue.queue_arguments or {}).get("x-queue-type") == "quorum" and queue.exchange.type != "direct"


def main(argv: list[str] | None = None) -> int:
    """Run the check from the command line.

    Args:
        argv: arguments; those of the process when None.

    Returns:
        the exit code, see the module.
    """
    parser = argparse.ArgumentParser(prog="python -m celery_on_hosts.check", description=__doc__.split("\n")[0])
    parser.add_argument("--app", "-A", default=os.environ.get("CELERY_APP"), help="what celery -A takes")
    parser.add_argument("--declare", action="store_true", help="declare queues and exchanges at the broker")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    options = parser.parse_args(argv)
    skip = os.environ.get(_SKIP_CHECKS)
    os.environ[_SKIP_CHECKS] = "yes"
    try:
        platform = Platform.load()
        name = options.app or platform.app
        app = import_app(name)
        django = [] if skip else check_django(name)
    except PlatformError as error:
        return _fail(NO_CHECK, str(error), options.json)
    except ImportFailed as error:
        return _fail(NO_IMPORT, str(error), options.json)
    report = check(app, platform, name)
    report.errors += django
    if options.declare and not report.errors:
        try:
            report.declared = declare(app, platform)
        except (OperationalError, OSError) as error:
            return _fail(NO_CHECK, f"{app.connection_for_write().as_uri()} does not answer: {error}", options.json)
        except app.connection_for_write().channel_errors as error:
            report.errors.append(
                f"the broker refuses a queue or exchange: {error} One of that name exists with other arguments: drain "
                "it and delete it (rabbitmqctl delete_queue -p VHOST NAME), or use a new name."
            )
    if options.json:
        print(json.dumps(report.as_json(), indent=1))
    for text in report.errors:
        print(f"error: {text}", file=sys.stderr)
    for text in report.warnings:
        print(f"warning: {text}", file=sys.stderr)
    if not options.json and not report.errors:
        print(f"{name}: {report.tasks} tasks, queues {', '.join(sorted(report.routes))}")
    return UNFIT if report.errors else OK


def _fail(code: int, text: str, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"status": "error", "errors": [text]}))
    print(f"error: {text}", file=sys.stderr)
    return code


if __name__ == "__main__":
    garbage.put_off()
    sys.exit(main())
