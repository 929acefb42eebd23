"""Check the result store that the application's settings and the inventory lead to."""

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import urlsplit

from celery import Celery
from kombu.exceptions import SerializerNotInstalled

from .. import result_store
from ..text import mask_passwords, one_line
from .report import Report

DECIDE = "set celery_result_backend in the inventory: platform (the platform's Redis), disabled, or an address"


def check(app: Celery, report: Report) -> bool:
    """Load the result store, without a connection, and report what does not fit.

    Returns:
        whether it loads; where it does not, no task can be sent either.
    """
    own = result_store.own(app.conf)
    used = app.conf.result_backend
    theirs = result_store.undecided() and not result_store.is_replaced(own)
    if _lacks_tls(app, used, report):
        return False
    where = f"result_backend is {_shown(used)}" + (", in the application" if theirs else "")
    if result_store.in_cache(used):
        report.errors.append(
            f"{where}, the platform's cache, which drops results when its memory is full. "
            f"Remove it, and the platform's result store is used, or {DECIDE}."
        )
        return False
    try:
        app.backend.as_uri()
    except SerializerNotInstalled:
        pass  # of accept_content, which is the subject of another check
    except Exception as error:
        report.errors.append(
            f"{where}, which does not load: {one_line(error).rstrip('.')}. "
            f"Correct it, or add the package that it needs to the application's lock, or {DECIDE}."
        )
        return False
    report.results = _shown(used)
    if result_store.undecided() and not theirs and own and own != used:  # the application may read the variable
        _check_replaced(own, report)
    return True


def _shown(store: Any) -> str:
    return mask_passwords(str(store))


def _lacks_tls(app: Celery, used: Any, report: Report) -> bool:
    lacks = isinstance(used, str) and used.startswith("redis://") and bool(app.conf.redis_backend_use_ssl)
    if lacks:
        report.errors.append(
            f"redis_backend_use_ssl is set in the application, but the result store, {_shown(used)}, speaks no TLS. "
            "Remove it from the application's settings, or set it only where the address begins with rediss://."
        )
    return lacks


def _check_replaced(own: str, report: Report) -> None:
    """Report a store that may be more than a developer's: its name has no dot, and yet this host knows it."""
    host = (urlsplit(own).hostname or "") if "://" in own else ""
    if not host or host in ("localhost", socket.gethostname()):
        return
    try:
        address = socket.gethostbyname(host)
    except OSError:
        return
    if not result_store.is_local(address):
        report.warn(
            "result_backend",
            f"result_backend is {_shown(own)} in the application, and the platform's Redis is used in its place",
            f"a name without a dot is taken for a container's, but {host} is {address} here",
            "Set celery_result_backend in the inventory: application (use it), or platform.",
        )
