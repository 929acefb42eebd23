"""What shows that the harness sees a loss: faults tried again with a protection taken away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from tests.faults.host import Host

ENVIRONMENT = "/etc/celery/environment"
UNSAFE = "unsafe_settings"


@dataclass(frozen=True)
class Proof:
    """A fault without a protection.

    Args:
        fault: its number.
        without: what is missing, in words.
        brokers: with which it is tried.
        taken_away: takes it away for a while.
    """

    fault: str
    without: str
    brokers: tuple[str, ...]
    taken_away: Callable[[Host], AbstractContextManager[None]]


@contextmanager
def settings(host: Host, *lines: str) -> Iterator[None]:
    """Give the application settings of its own, which win over the platform's, as a careless user would.

    Args:
        host: where.
        lines: the settings, in Python.
    """
    folder = host.ledger.parent
    there = str(host.platform.variables["celery_app_environment"]["TASKS_LEDGER"]).rpartition("/")[0]
    module = "\n".join(["from tasks.settings import *", *lines, ""])
    (folder / f"{UNSAFE}.py").write_text(module, encoding="utf-8")
    environment = f"DJANGO_SETTINGS_MODULE='{UNSAFE}'\nPYTHONPATH='{there}'\n"
    with host.edited(ENVIRONMENT, "", environment, "supervisorctl restart all"):
        yield


@contextmanager
def early_acks(host: Host) -> Iterator[None]:
    """Tasks are acknowledged when they are taken."""
    with settings(host, "CELERY_TASK_ACKS_LATE = False"):
        yield


@contextmanager
def stopped_as_group(host: Host) -> Iterator[None]:
    """The stop signal goes to the children too, as in Celery's example, and Celery's default is not overruled."""
    program = "/etc/supervisor/conf.d/celery.conf"
    with (
        host.edited(program, "stopasgroup=false", "stopasgroup=true", "supervisorctl update"),
        settings(host, "CELERY_TASK_REJECT_ON_WORKER_LOST = False"),
    ):
        yield


@contextmanager
def classic_queue(host: Host) -> Iterator[None]:
    """A queue in one place, as Celery declares it by default, and publishes that nobody confirms."""
    platform = "/etc/celery/platform.json"
    replace = "rabbitmqctl --quiet delete_queue --vhost celery celery"
    declare = "celery-python -m celery_on_hosts.check --declare"
    apply = f"supervisorctl stop all && {replace} && {declare} && supervisorctl start all"
    with (
        host.edited(platform, '"x-queue-type": "quorum"', "", apply),
        settings(host, 'CELERY_BROKER_TRANSPORT_OPTIONS = {"confirm_publish": False}'),
    ):
        yield


@contextmanager
def lazy_disk(host: Host) -> Iterator[None]:
    """Redis flushes its file once a second."""
    with host.edited(
        "/etc/redis/redis.conf", "appendfsync always", "appendfsync everysec", "systemctl restart redis-server"
    ):
        yield


@contextmanager
def no_log(host: Host) -> Iterator[None]:
    """Redis writes no append-only file."""
    with host.edited("/etc/redis/redis.conf", "appendonly yes", "appendonly no", "systemctl restart redis-server"):
        yield


@contextmanager
def stock_transport(host: Host) -> Iterator[None]:
    """Celery's own transport for Redis, which takes a message in one step and writes that down in a second."""
    platform = "/etc/celery/platform.json"
    with host.edited(
        platform, '"redis_transport": "atomic"', '"redis_transport": "stock"', "supervisorctl restart all"
    ):
        yield


PROOFS = [
    Proof("F1", "with stopasgroup", ("rabbitmq", "redis"), stopped_as_group),
    Proof("F3", "without late acks", ("rabbitmq", "redis"), early_acks),
    Proof("F3", "with the stock transport", ("redis",), stock_transport),
    Proof("F8", "with a classic queue and no confirms", ("rabbitmq",), classic_queue),
    Proof("F8", "without an append-only file", ("redis",), no_log),
    Proof("F9", "without appendfsync always", ("redis",), lazy_disk),
]
