"""A plugin of pytest that runs beside the suite of Celery or kombu on the host.

The suites open connections to a Redis and a RabbitMQ without passwords, on this machine. The platform's have passwords,
so these connections are made with the logins of SUITE_REDIS and SUITE_BROKER. Nothing else of a suite is changed.
"""

import os
import re
from importlib import import_module
from typing import Any
from urllib.parse import unquote, urlsplit

import kombu
import redis

place = urlsplit(os.environ["SUITE_REDIS"])


class Access(redis.Redis):
    """A client; one that names a host, as the suites' own do, gets the login and the database."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        if "host" in options:
            options |= {
                "host": place.hostname,
                "port": place.port,
                "username": place.username,
                "password": unquote(place.password or ""),
                "db": int(place.path.strip("/") or 0),
            }
        super().__init__(*arguments, **options)


redis.StrictRedis = redis.Redis = Access  # type: ignore[misc]

# kombu's suite names no login and no database. Addresses with a login are meant to be refused.
BROKER = re.compile(r"(?:pyamqp|redis)://localhost:(?:5672|6379)(?=;|$)")
usual = kombu.Connection.__init__


def initialize(self: kombu.Connection, hostname: Any = "localhost", *arguments: Any, **options: Any) -> None:
    """Make a connection; to a broker of this machine with the login and the database."""
    if isinstance(hostname, str):
        hostname = BROKER.sub(lambda _: os.environ["SUITE_BROKER"], hostname)
    usual(self, hostname, *arguments, **options)


kombu.Connection.__init__ = initialize

if os.environ.get("SUITE_RUNTIME"):  # kombu's suite makes no application, which would load the runtime
    assert import_module("conformance").app.conf.broker_url
