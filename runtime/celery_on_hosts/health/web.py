"""The layers ``web`` and ``flower``: a page of each answers."""

from __future__ import annotations

import http.client
import socket
import time
import urllib.parse
from collections.abc import Callable

from .. import processes
from ..names import log_file
from ..platform_file import Program
from ..text import mask_passwords, one_line
from .report import Check


def check(program: Program, timeout: float) -> Check:
    """Ask a program for its page; a program without a page has to run.

    Args:
        program: of kind ``web`` or ``flower``.
        timeout: seconds that connecting, and each part of the answer, may take.
    """
    layer: str = program.kind
    started, name = time.monotonic(), program.program
    advice = f"supervisorctl status {name}; its log: {log_file(name)}"
    if not program.url:
        pid = processes.main_process(name)
        return Check(layer, name, bool(pid), f"pid {pid}" if pid else "is not running", advice="" if pid else advice)
    page = mask_passwords(program.url)
    try:
        status = get(program.url, timeout, program.host)
    except (OSError, http.client.HTTPException, ValueError) as error:
        detail = f"{page} does not answer: {one_line(error)}"
        return Check(layer, name, False, detail, "error", advice, time.monotonic() - started)
    seconds = time.monotonic() - started
    asked = f" (Host: {program.host})" if program.host else ""
    detail = f"{page}{asked} answers {status}"
    if 200 <= status < program.below:
        return Check(layer, name, True, detail, seconds=seconds)
    detail += f", not 200 to {program.below - 1}"
    if layer == "web" and status < 500:
        advice = "is the page right, and that Host allowed? See celery_web_health_path and celery_web_host"
    return Check(layer, name, False, detail, "error", advice, seconds)


def get(url: str, timeout: float, host: str = "") -> int:
    """Return the status of a page; a redirect is not followed.

    Args:
        url: the page. ``unix:/path/of/socket:/page`` asks over a socket.
        timeout: seconds that connecting, and each part of the answer, may take.
        host: the request's ``Host``; the URL's own when empty.

    Raises:
        OSError, http.client.HTTPException, ValueError: there is no answer.
    """
    connection, page = _connect(url, timeout)
    try:
        connection.request("GET", page, headers={"Host": host} if host else {})
        return connection.getresponse().status
    finally:
        connection.close()


def _connect(url: str, timeout: float) -> tuple[http.client.HTTPConnection, str]:
    if url.startswith("unix:"):
        path, _, page = url.removeprefix("unix:").rpartition(":")
        connection = http.client.HTTPConnection("localhost", timeout=timeout)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(timeout)
        connection.sock.connect(path)
        return connection, page
    parts = urllib.parse.urlsplit(url)
    make: Callable[..., http.client.HTTPConnection] = (
        http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    )
    page = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return make(parts.hostname or "127.0.0.1", parts.port, timeout=timeout), page
