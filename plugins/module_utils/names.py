# SPDX-License-Identifier: MIT
"""Names and paths that several plugins, and the hosts, know the platform by."""

from __future__ import annotations

DEAD_QUEUE = "celery.dead"  # dead-lettered messages
UNROUTABLE_QUEUE = "celery.unroutable"  # messages whose exchange knows no queue for their routing key

CELERY_ROOT, FLOWER_ROOT = "/opt/celery", "/opt/flower"  # releases
REPORTS = "/run/celery"  # heartbeats of workers, beat and the web side
LOGS = "/var/log/celery"  # NAME.log of each program
SETTINGS = "/etc/celery"  # what programs read when they start
PLATFORM_FILE = f"{SETTINGS}/platform.json"
CELERY_DATA = "/var/lib/celery"  # what the application's programs write, and the home of their account
CELERY_FILES = (
    *(CELERY_ROOT, SETTINGS, CELERY_DATA, LOGS),
    *("/etc/tmpfiles.d/celery.conf", "/etc/sudoers.d/celery"),
    *(f"/usr/local/bin/{name}" for name in ("celery", "celery-python", "celery-health", "celery-dead")),
)
FLOWER_SETTINGS = "/etc/flower"
FLOWER_FILES = (FLOWER_ROOT, FLOWER_SETTINGS)
HOMES = {"celery": CELERY_DATA, "flower": "/"}  # of the accounts that programs run as
OPERATORS = "celery-operators"  # the group of those who may operate the platform
RABBITMQ_VHOST = "celery"
RABBITMQ_DEFINITIONS = "/etc/rabbitmq/celery.json"  # in a RabbitMQ of others
DATABASE = "celery"  # at PostgreSQL, and what the names of the application's roles begin with
FRONT_DOOR_FILE = "/etc/nginx/celery-front-door.json"  # which pages show whether nginx works
STATE = "/var/lib/celery-platform"  # what the platform remembers on a host
STAMPS = f"{STATE}/applied"  # configuration that each service was last started with
ORIGINALS = f"{STATE}/originals"  # what each service's files were before the platform wrote them
PREVIOUS = f"{STATE}/previous"  # what files were whose service does not run yet with the new ones
PACKAGES = f"{STATE}/packages.json"  # which packages the platform installed
KEPT = f"{STATE}/kept.json"  # folders with data that `make remove` left
FACTS = "/etc/ansible/facts.d"
DRAINED_FACT = f"{FACTS}/celery.fact"  # is there while the host's workers are drained
