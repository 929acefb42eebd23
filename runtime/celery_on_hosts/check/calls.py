"""Do for each task what ``delay()`` does, up to the message, and report what it raises.

Celery checks a task's options there, and not where the task is made. The application's own code is left out, which
may need real arguments or have effects: overridden methods, signal handlers, and routers, which ``queues`` has asked.
What the rest of its code raises, a property for example, is a warning: it may be meant, or depend on the caller.
"""

from __future__ import annotations

import contextlib
import traceback
from collections import defaultdict
from pathlib import Path
from typing import Any

from celery import Celery, Task
from kombu.compression import get_encoder
from kombu.serialization import dumps

from ..couplings import TRIAL_CALLS
from .report import Report, first_few, is_builtin


def check(app: Celery, report: Report) -> None:
    """Check each task of the application; none is sent or run."""
    if app.conf.task_always_eager or not TRIAL_CALLS.fits():
        return  # tasks would run, or be sent; another check has reported it
    errors: dict[str, set[str]] = defaultdict(set)
    warnings: dict[str, set[str]] = defaultdict(set)
    for name, task in app.tasks.items():
        if is_builtin(name):
            continue
        try:
            _call(app, task)
        except Exception as error:
            if _passes_through(Path.cwd(), error):
                warnings[f"{type(error).__name__}: {error}"].add(name)
            else:
                errors[_refusal(task, error)].add(name)
    report.errors += [f"delay() of {first_few(names)} would raise {text}" for text, names in sorted(errors.items())]
    for text, names in sorted(warnings.items()):
        found, consequence = f"delay() of {first_few(names)}", f"it would raise {text}"
        report.warn("calls", found, consequence, "Correct it, unless it depends on the caller or the arguments.")


def _passes_through(folder: Path, error: Exception) -> bool:
    """Return whether code of the application's folder took part in an error."""
    frames = traceback.extract_tb(error.__traceback__)
    return any(Path(frame.filename).is_relative_to(folder) for frame in frames)


class _Router:
    """Routes to no queue, so that no router of the application is asked."""

    def route(self, options: dict[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
        return options


class _Producer:
    """Stands for a producer of the broker; nothing is sent with it."""

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
