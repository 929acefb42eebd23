# SPDX-License-Identifier: MIT
"""Ask nginx of this host for the pages that show whether it reaches what it passes on. Standard library only."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

LAYER = "front door"
SERVER_HEADER = "X-Celery-Server"  # the number of the server that nginx asks; believed from this host alone


def ask(text: str, timeout: float) -> list[dict[str, Any]]:
    """Return a check for each page, in the form of ``celery-health --json``.

    Args:
        text: the file that the role ``nginx`` writes, with nginx's port and the pages; empty where there is none.
        timeout: seconds that connecting, and each part of an answer, may take.
    """
    described: dict[str, Any] = json.loads(text) if text else {"port": 0, "checks": []}
    return [_ask(described["port"], one, timeout) for one in described["checks"]]


def _ask(port: int, one: Mapping[str, Any], timeout: float) -> dict[str, Any]:
    """Ask for a page.

    A page works when the answer can be the application's: whether the page is right is asked on the web side's host.
    """
    page = f"http://127.0.0.1:{port}{one['path']} (Host: {one['host']})"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", one["path"], headers={"Host": one["host"], SERVER_HEADER: one["server"]})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return _check(one["name"], False, f"{page} does not answer: {error}", "systemctl status nginx")
    finally:
        connection.close()
    works = status < one["below"] and status != HTTPStatus.MISDIRECTED_REQUEST
    program, _, host = one["name"].partition(" on ")
    where = host or f"the hosts of {program}"
    advice = (
        f"/var/log/nginx/error.log; on {where}: supervisorctl status {program}, and is its port reachable from here?"
    )
    return _check(one["name"], works, f"{page} answers {status}", advice)


def _check(name: str, ok: bool, detail: str, advice: str) -> dict[str, Any]:
    """Return a check."""
    severity = "ok" if ok else "error"
    return {
        "layer": LAYER,
        "name": name,
        "ok": ok,
        "severity": severity,
        "detail": detail,
        "advice": "" if ok else advice,
    }
