"""A plugin of pytest that runs beside Celery's suite on the host.

The suite opens a connection to a Redis without passwords. The platform's Redis has passwords, so this connection is
made with the login of SUITE_REDIS. Nothing else of the suite is changed.
"""

import os
from typing import Any
from urllib.parse import unquote, urlsplit

import redis

place = urlsplit(os.environ["SUITE_REDIS"])
Client = redis.StrictRedis


def connect(*arguments: Any, **options: Any) -> redis.Redis:
    """Return a client; one that names a host, as the suite's own does, gets the login and the database."""
    if "host" in options:
        options |= {
            "host": place.hostname,
            "port": place.port,
            "username": place.username,
            "password": unquote(place.password or ""),
            "db": int(place.path.strip("/") or 0),
        }
    return Client(*arguments, **options)


redis.StrictRedis = connect  # type: ignore[assignment]
