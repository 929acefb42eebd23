# SPDX-License-Identifier: MIT
"""Filters: what playbooks and templates ask of the platform's model."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.accounts import (
    database_login,
    previous_accounts,
)
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.rollout import (
    Rollout,
    archives,
    host_release,
    rolled_back_message,
)
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.services import missing_packages
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.settings import env_file
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.show import show
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.weaknesses import weaknesses


def rabbitmq_password_hash(password: str, user: str) -> str:
    """Return a password as RabbitMQ's definitions hold it (rabbit_password_hashing_sha256).

    The salt follows from user and password, so that the same ones give the same file again.

    Args:
        password: the password.
        user: the account's name.

    Raises:
        ValueError: the password is empty.
    """
    if not password:
        raise ValueError(f"the password of {user} is empty")
    salt = hashlib.sha256(f"{user}\0{password}".encode()).digest()[:4]
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def rollout(release: Mapping[str, Any], *results: Mapping[str, Any]) -> dict[str, Any]:
    """Return what :class:`Rollout` decides for a host; :meth:`Rollout.of` says what it takes."""
    return Rollout.of(release, *results).as_dict()


def rolled_back(release: Mapping[str, Any], reason: str, peers: Mapping[str, Any]) -> str:
    """Return what is said when a host has rolled back.

    Args:
        release: as :func:`rollout` takes it.
        reason: why the release does not work.
        peers: the application's hosts: ``finished``, on which it works, and ``untouched``, which had no turn yet.
    """
    return rolled_back_message(Rollout(**release), reason, peers["finished"], peers["untouched"])


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            "archives": archives,
            "database_login": database_login,
            "env_file": env_file,
            "host_release": host_release,
            "missing_packages": missing_packages,
            "previous_accounts": previous_accounts,
            "rabbitmq_password_hash": rabbitmq_password_hash,
            "rolled_back": rolled_back,
            "rollout": rollout,
            "show": show,
            "weaknesses": weaknesses,
        }
