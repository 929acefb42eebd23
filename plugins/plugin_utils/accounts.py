# SPDX-License-Identifier: MIT
"""Say which accounts the brokers, the result store and the database have, and what each may do.

Each client has an account of its own, with the rights that it needs and no more. Standard library only.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ansible_collections.celery_on_hosts.platform.plugins.module_utils.names import DATABASE
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils import topology

# The credentials of services, in the order in which their digest is made of them.
SERVICE_SECRETS = (
    "celery_rabbitmq_password",
    "celery_rabbitmq_operator_password",
    "celery_rabbitmq_flower_password",
    "celery_redis_password",
    "celery_redis_operator_password",
    "celery_redis_flower_password",
    "celery_database_password",
    "celery_secret_key",
)
VHOST = "celery"
BROKER_DATABASE, RESULTS_DATABASE = 0, 1  # of Redis
CACHE_DATABASE, CHANNELS_DATABASE = 0, 1  # of the cache's Redis
FLOWER_QUEUES = r"^(celeryev.*|.*celery\.pidbox)$"  # RabbitMQ: events and remote control
DIGITS = 8  # at the end of the name of an account that changes with its password


def account_name(name: str, password: str, key: str) -> str:
    """Return the name of the account that has a password: `NAME_` and eight digits that follow from both.

    RabbitMQ and PostgreSQL take one password for an account. A new password therefore comes with a new account, and
    programs that still have the previous one go on working until it is removed. Redis takes several passwords.

    Args:
        name: what the account's name begins with.
        password: the password.
        key: a secret. Many may read the name, and without the key nobody can try passwords by the name.

    Raises:
        ValueError: the password is empty.
    """
    if not password:
        raise ValueError(f"the password of the account {name} is empty")
    digest = hmac.digest(key.encode(), f"{name}\0{password}".encode(), "sha256").hex()
    return f"{name}_{digest[:DIGITS]}"


def database_login(password: str, key: str) -> str:
    """Return the name of the application's account at PostgreSQL; :func:`account_name` says what the arguments are."""
    return account_name("celery", password, key)


def previous_accounts(existing: Iterable[str], wanted: Sequence[str]) -> list[str]:
    """Return the accounts whose credentials were replaced, sorted.

    Args:
        existing: the names of all accounts of a service; those of other names are somebody else's.
        wanted: the names that :func:`account_name` gives now, or names without digits.
    """
    stem = re.compile(rf"_[0-9a-f]{{{DIGITS}}}\Z")
    stems = {stem.sub("", name) for name in wanted}
    return sorted(name for name in existing if name not in wanted and stem.sub("", name) in stems)


@dataclass(frozen=True)
class Accounts:
    """The accounts of a platform.

    Args:
        secrets: the variables of ``SERVICE_SECRETS``, ``celery_flower_password``, and ``celery_cache_password`` where
            there is a cache.
    """

    secrets: Mapping[str, str]

    def _name(self, name: str, secret: str) -> str:
        return account_name(name, self.secrets[secret], self.secrets["celery_secret_key"])

    @property
    def rabbitmq_app(self) -> str:
        """The application's account at RabbitMQ."""
        return self._name("celery", "celery_rabbitmq_password")

    @property
    def rabbitmq_flower(self) -> str:
        """Flower's account at RabbitMQ."""
        return self._name("flower", "celery_rabbitmq_flower_password")

    @property
    def database_login(self) -> str:
        """The application's account at PostgreSQL."""
        return database_login(self.secrets["celery_database_password"], self.secrets["celery_secret_key"])

    @property
    def digest(self) -> str:
        """A digest of the only credentials that the services are to accept.

        A host keeps the digest once its services no longer accept the previous credentials.
        """
        cache = [self.secrets[name] for name in ("celery_cache_password",) if self.secrets.get(name)]
        text = json.dumps([self.secrets[name] for name in SERVICE_SECRETS] + cache)
        return hashlib.sha256(text.encode()).hexdigest()

    def rabbitmq_users(self) -> list[dict[str, str]]:
        """Return RabbitMQ's users, as the role ``rabbitmq`` takes them."""
        secrets = self.secrets
        return [
            {"name": self.rabbitmq_app, "password": secrets["celery_rabbitmq_password"]},
            {"name": "operator", "password": secrets["celery_rabbitmq_operator_password"], "tags": "administrator"},
            {
                "name": self.rabbitmq_flower,
                "password": secrets["celery_rabbitmq_flower_password"],
                "tags": "monitoring",
                "configure": FLOWER_QUEUES,
                "write": FLOWER_QUEUES,
                "read": FLOWER_QUEUES,
            },
        ]

    def redis_users(self, queues: Iterable[str]) -> list[dict[str, str]]:
        """Return Redis's users, as the role ``redis`` takes them.

        Flower hears events and asks workers. It may know the length of the queues, and nothing of the results.

        Args:
            queues: the platform's queues.
        """
        app = "~* &* +@all -@admin -@dangerous +info +keys"
        lengths = " ".join(f"%R~{queue}*" for queue in queues)
        flower = (
            "~_kombu.binding_deadlines ~_kombu.binding*.celeryev* ~_kombu.binding*celery.pidbox* ~*celery.pidbox* "
            f"~celeryev* {lengths} &* +@all -@admin -@dangerous +info -lrange -lindex -lpos -dump -copy"
        )
        return [
            {"name": "celery", "password": self.secrets["celery_redis_password"], "rules": app},
            {"name": "operator", "password": self.secrets["celery_redis_operator_password"], "rules": "~* &* +@all"},
            {"name": "flower", "password": self.secrets["celery_redis_flower_password"], "rules": flower},
        ]

    def cache_users(self) -> list[dict[str, str]]:
        """Return the users of the cache's Redis: the application may empty a database there (``cache.clear()``)."""
        rules = "~* &* +@all -@admin -@dangerous +info +keys +flushdb"
        return [{"name": "cache", "password": self.secrets["celery_cache_password"], "rules": rules}]

    # --- addresses with credentials ----------------------------------------------------------------------------------

    def broker_url(self, broker: str, host: str, client: str = "app") -> str:
        """Return the broker's address with a client's account.

        Args:
            broker: 'rabbitmq' or 'redis'.
            host: where the client finds the broker.
            client: 'app' or 'flower'.
        """
        if broker == "rabbitmq":
            name, secret = {
                "app": (self.rabbitmq_app, "celery_rabbitmq_password"),
                "flower": (self.rabbitmq_flower, "celery_rabbitmq_flower_password"),
            }[client]
            return _url("amqp", name, self.secrets[secret], host, topology.AMQP, VHOST)
        name, secret = {
            "app": ("celery", "celery_redis_password"),
            "flower": ("flower", "celery_redis_flower_password"),
        }[client]
        return _url("redis", name, self.secrets[secret], host, topology.REDIS, BROKER_DATABASE)

    def result_url(self, host: str) -> str:
        """Return the address of the result store with the application's account."""
        return _url("redis", "celery", self.secrets["celery_redis_password"], host, topology.REDIS, RESULTS_DATABASE)

    def cache_url(self, host: str, database: int) -> str:
        """Return the address of a database of the cache."""
        return _url("redis", "cache", self.secrets["celery_cache_password"], host, topology.CACHE, database)

    def database_url(self, host: str, scheme: str = "postgresql") -> str:
        """Return the address of the database with the application's account.

        Args:
            host: where the application finds the database.
            scheme: what the application wants in front of it.
        """
        password = self.secrets["celery_database_password"]
        return _url(scheme, self.database_login, password, host, topology.POSTGRESQL, DATABASE)

    def management_url(self, host: str, port: int) -> str:
        """Return the address of RabbitMQ's management API, without an account.

        Flower then logs in with the account of its broker's address. Credentials in this address would be sent as they
        stand, percent-encoded.
        """
        return f"http://{topology.place(host, port)}/api/"


def _url(scheme: str, name: str, password: str, host: str, port: int, path: Any) -> str:
    return f"{scheme}://{name}:{quote(password, safe='')}@{topology.place(host, port)}/{path}"
