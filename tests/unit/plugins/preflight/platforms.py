"""Platforms with nothing wrong but what a test changes."""

from __future__ import annotations

import copy
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.preflight.check import check
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.preflight.problem import render
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.topology import GROUPS

GOOD: dict[str, Any] = {
    "celery_app": "tasks",
    "celery_app_source": "/app",
    "celery_app_lock": "",
    "celery_app_extras": ["production"],
    "celery_app_include": [],
    "celery_app_environment": {"ALLOWED_HOSTS": "*"},
    "celery_app_environment_from": {"BROKER": "CELERY_BROKER_URL"},
    "celery_app_release_commands": ["python -m django migrate"],
    "celery_broker": "rabbitmq",
    "celery_redis_transport": "atomic",
    "celery_workers": [{"name": "celery", "queues": ["celery"]}, {"name": "low", "queues": ["low"], "pool": "threads"}],
    "celery_queues": ["celery", "low"],
    "celery_beat_enabled": True,
    "celery_web_enabled": True,
    "celery_web_app": "tasks.wsgi:application",
    "celery_handover": True,
    "celery_web_command": "",
    "celery_web_host": "",
    "celery_web_health_path": "/",
    "celery_web_body_size": "10m",
    "celery_web_timeout": 60,
    "celery_web_names": [],
    "celery_take_over": [],
    "celery_web_locations": [],
    "celery_trusted_proxies": [],
    "celery_app_state": [],
    "celery_web_static": [],
    "celery_web_static_commands": [],
    "celery_database_enabled": True,
    "celery_flower_enabled": True,
    "celery_packages": ["ffmpeg"],
    "celery_apt_proxy": "",
    "celery_files": [{"src": "model.bin", "dest": "/srv/shop/model.bin", "read_by": ["web"]}],
    "celery_operators": ["alice"],
    "celery_soft_time_limit": 240,
    "celery_time_limit": 300,
    "celery_stop_wait": 360,
    "celery_redis_visibility_timeout": 3600,
    "celery_rabbitmq_consumer_timeout": 3600,
    "celery_web_port": 80,
}


STOCK: dict[str, Any] = {"celery_broker": "redis", "celery_redis_transport": "stock"}


def platform(hosts: tuple[str, ...] = ("a",), **changes: Any) -> dict[str, Any]:
    """A platform with nothing wrong but the changes, the same on each host."""
    values = {**copy.deepcopy(GOOD), **changes}
    values = {name: value for name, value in values.items() if value is not ...}
    return {
        "groups": {name: [hosts[0]] for name in GROUPS} | {"workers": list(hosts), "all": list(hosts)},
        "known": [
            *GOOD,
            "celery_address",
            "celery_flower_password",
            "celery_signing_key",
            "celery_accept",
            "celery_beat_scheduler",
            "celery_result_backend",
            "celery_message_signing",
            "celery_serial",
            "celery_unlock",
        ],
        "sources": {"/app": {"exists": True, "packages": ["celery", "django"]}},
        "hosts": {host: {"vars": dict(values), "user": list(changes), "facts": {}} for host in hosts},
    }


def worker(**changes: Any) -> dict[str, Any]:
    """A platform with one worker and nothing wrong but the changes of its entry."""
    return platform(celery_workers=[{"name": "celery", "queues": ["celery", "low"], **changes}])


def words(state: dict[str, Any]) -> str:
    """Return what is said of a platform."""
    return render(check(state))
