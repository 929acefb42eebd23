"""The layer ``database``: the server of ``PGHOST``, or of ``DATABASE_URL`` where that is PostgreSQL, listens."""

from __future__ import annotations

import os
import socket
import time
import urllib.parse
from collections.abc import Iterator

from .report import Check


def check(timeout: float) -> Iterator[Check]:
    """Connect to the server within ``timeout`` seconds. No check where the application names none."""
    host, port = _server()
    if not host:
        return
    started, name = time.monotonic(), f"{host}:{port}"
    try:
        socket.create_connection((host, port), timeout).close()
    except OSError as error:
        seconds = time.monotonic() - started
        yield Check("database", name, False, f"does not answer: {error}", "error", "is PostgreSQL up?", seconds)
    else:
        yield Check("database", name, True, "listens", seconds=time.monotonic() - started)


def _server() -> tuple[str, int]:
    """Return the host and port of the application's PostgreSQL; no host where it has none.

    The scheme of ``DATABASE_URL`` is the application's choice (``postgis``), so ``PGHOST`` tells, too.
    """
    url = urllib.parse.urlsplit(os.environ.get("DATABASE_URL", ""))
    if url.scheme.startswith("postgres") and url.hostname:
        return url.hostname, url.port or 5432
    return (os.environ.get("PGHOST", ""), int(os.environ.get("PGPORT") or 5432)) if url.scheme else ("", 0)
