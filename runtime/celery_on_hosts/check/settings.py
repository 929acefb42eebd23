"""Check the application's own settings, which win over the platform's."""

from __future__ import annotations

from typing import Any

from celery import Celery

from ..platform_file import Platform
from ..text import mask_passwords
from .report import Report

# Settings that weaken the platform's promise: name, the values that do, and what they cost.
WEAK: tuple[tuple[str, tuple[Any, ...], str], ...] = (
    ("task_acks_late", (False,), "a task is lost when its worker dies while it runs"),
    ("task_reject_on_worker_lost", (False, None), "a task is lost when the pool process that runs it dies"),
    ("task_publish_retry", (False,), "a publish is not tried again when the broker is away for a moment"),
    ("task_default_delivery_mode", (1, "transient"), "messages are lost when the broker stops"),
    ("task_protocol", (1,), "messages of protocol 1 carry no headers to route and trace by"),
    ("worker_prefetch_multiplier", (0,), "one worker takes every waiting task and the others idle"),
    ("worker_enable_remote_control", (False,), "workers do not answer inspect and status"),
    ("broker_connection_retry", (False,), "a worker stops when the broker is away for a moment"),
    ("task_create_missing_queues", (True,), "a task that is sent to a misspelt queue waits where nobody reads"),
    ("task_acks_on_failure", (False,), "each task that fails is dead-lettered"),
    ("task_acks_on_timeout", (False,), "a task that exceeds its time limit runs again, and again"),
)

# Settings that lead away from the broker that the platform gives; CELERY_BROKER_URL does not replace these.
ADDRESSES = ("broker_read_url", "broker_write_url", "broker_transport", "broker_user", "broker_password",
             "broker_vhost", "broker_port")  # fmt: skip

UNSAFE_CONTENT = {"pickle", "application/x-python-serialize"}
VISIBILITY_TIMEOUT = 3600  # seconds: kombu's default


def check(app: Celery, platform: Platform, report: Report) -> None:
    """Check everything that the application sets itself."""
    _check_promise(app, platform, report)
    _check_content(app, platform, report)
    _check_tls(app, report)
    if app.conf.task_always_eager:
        report.errors.append("task_always_eager is on: tasks run in their caller and never reach a worker.")
    if platform.broker == "rabbitmq":
        _check_rabbitmq_options(app, report)
    elif platform.redis_transport == "atomic":
        _check_atomic_options(app, platform, report)
    else:
        _check_stock_options(app, platform, report)


def _check_promise(app: Celery, platform: Platform, report: Report) -> None:
    for name, weak, cost in WEAK:
        value = app.conf.get(name)
        if value in weak and platform.settings.get(name, "unset") != value and _set_by_app(app, name):
            remedy = f"Remove {name} from the application's settings."
            report.warn(name, f"{name} is {value!r} in the application", cost, remedy)
    for name in ADDRESSES:
        if app.conf.get(name) and name not in platform.settings and _set_by_app(app, name):
            report.errors.append(
                f"{name} is set in the application, which the platform's broker address does not replace. "
                "Remove it from the application's settings."
            )


def _check_tls(app: Celery, report: Report) -> None:
    url = str(app.conf.broker_url)
    if app.conf.broker_use_ssl and not url.startswith(("amqps://", "rediss://")):
        report.errors.append(
            f"broker_use_ssl is set in the application, but the broker, {mask_passwords(url)}, speaks no TLS. "
            "Remove it from the application's settings, or set it only where CELERY_BROKER_URL begins with amqps:// or "
            "rediss://."
        )


def _set_by_app(app: Celery, name: str) -> bool:
    """Return whether the application has the setting itself, not from the platform's layer or Celery's."""
    layers = app.conf.maps[:-2]
    return any(key in layer for layer in layers for key in app.conf._to_keys(name))


def _check_content(app: Celery, platform: Platform, report: Report) -> None:
    conf = app.conf
    for name in ("accept_content", "result_accept_content"):
        unsafe = sorted(set(conf.get(name) or ()) & UNSAFE_CONTENT)
        if unsafe:
            report.warn(
                name,
                f"{name} has {', '.join(unsafe)}",
                "whoever can write to the broker or the result store can run any code in the programs that read there",
                "Use json, or sign messages (celery_message_signing).",
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


def _check_rabbitmq_options(app: Celery, report: Report) -> None:
    if (app.conf.broker_transport_options or {}).get("confirm_publish") is False:
        report.warn(
            "confirm_publish",
            "broker_transport_options turns confirm_publish off",
            "a task can be lost between delay() and the broker",
            "Remove confirm_publish from the application's settings.",
        )


def _check_atomic_options(app: Celery, platform: Platform, report: Report) -> None:
    ours = (platform.settings.get("broker_transport_options") or {}).get("visibility_timeout")
    visible = (app.conf.broker_transport_options or {}).get("visibility_timeout")
    if ours and visible and visible > ours:
        report.warn(
            "visibility_timeout",
            f"broker_transport_options sets visibility_timeout to {visible} s",
            f"the tasks of a killed worker return to their queues only then, not after {ours} s",
            "Remove it: on this platform a task may take longer than that.",
        )


def _check_stock_options(app: Celery, platform: Platform, report: Report) -> None:
    visible = (app.conf.broker_transport_options or {}).get("visibility_timeout", VISIBILITY_TIMEOUT)
    longest = platform.longest_task_s
    if longest and visible <= longest:
        report.warn(
            "visibility_timeout",
            f"visibility_timeout is {visible} s, not longer than the longest task ({longest:g} s)",
            "such a task is delivered again while it still runs",
            "Raise it, or remove it.",
        )
