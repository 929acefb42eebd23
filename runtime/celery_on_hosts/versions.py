"""What the versions of Celery that the platform runs cannot do, and what the platform does about it.

Before 5.5 Celery knows no delays and no prefetch count for quorum queues: ``delay`` and ``rabbitmq_transport`` bring
both, so that nothing is left to say.

Before 5.6 a worker that stops sends RabbitMQ no heartbeats while its tasks end. RabbitMQ closes a connection that was
silent for twice the heartbeat's interval, and delivers the tasks in hand to another worker while they still run. So the
interval is made long enough for the longest task.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

from .platform_file import Platform
from .upstream import TESTED, is_before, version

STOP_SECONDS = 60  # after the longest task, until a worker that stops has ended


def heartbeat(platform: Platform) -> int | None:
    """Return the seconds between a worker's heartbeats to RabbitMQ, None where the platform's setting is right."""
    longest, usual = platform.longest_task_s, platform.settings.get("broker_heartbeat")
    if platform.broker != "rabbitmq" or not longest or not usual or not is_before("celery", "5.6"):
        return None
    needed = ceil((longest + STOP_SECONDS) / 2)
    return needed if needed > usual else None


def shortcomings(platform: Platform) -> Iterator[str]:
    """Yield what the installed Celery cannot do on a platform, and what follows."""
    found = version("celery")
    if minor(found) not in {minor(tested) for tested in TESTED["celery"]}:
        yield (
            f"celery {found} was not tried with this platform, which was tested with {', '.join(TESTED['celery'])}. "
            "What the platform changes in Celery fits by name and signature. Lock a version that was tested, or use a "
            "newer release of this platform."
        )
    seconds = heartbeat(platform)
    if seconds:
        yield (
            f"celery {found} sends no heartbeats while a worker stops, so the interval is {seconds} s instead of "
            f"{platform.settings['broker_heartbeat']} s: when a worker's whole host is lost, its tasks are delivered "
            f"to another worker after {2 * seconds} s. Celery 5.6 or newer needs no such interval."
        )
    if platform.broker == "redis" and platform.redis_transport == "stock" and is_before("celery", "5.7"):
        yield (
            f"celery {found} with celery_redis_transport: stock returns a task that kills its process to the queue "
            "without end. Use celery_redis_transport: atomic, which dead-letters the task, or Celery 5.7 or newer."
        )


def minor(number: str) -> tuple[str, ...]:
    """Return the major and the minor number of a version."""
    return tuple(number.split(".")[:2])
