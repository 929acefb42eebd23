"""Check that the web side can be served: its application loads and is WSGI or ASGI, or its command exists."""

from __future__ import annotations

import importlib
import os
import shlex

from ..platform_file import Platform
from ..web.application import WebAppError, add_working_folder, interface, load
from ..web.command import CommandError, prepare, with_address
from .imports import explain
from .report import Report


def check(platform: Platform, report: Report) -> None:
    """Check the web side, on every host: a wrong one is then found on the first, before anything is switched."""
    if platform.web_command:
        _check_command(platform.web_command, report)
    elif platform.web_app:
        _check_app(platform.web_app, report)


def _check_command(command: str, report: Report) -> None:
    try:
        program = prepare(shlex.split(command), with_address(os.environ, "127.0.0.1", "0"))[0]
    except (CommandError, ValueError) as error:
        report.errors.append(f"celery_web_command: {error}")
    else:
        report.web = f"web side by {program}"


def _check_app(name: str, report: Report) -> None:
    add_working_folder()
    try:
        kind = interface(load(name), name)
    except WebAppError as error:
        text = str(error)
        report.errors.append(f"celery_web_app is {name}: {text}{'' if text.endswith('?') else '.'}")
        return
    except (Exception, SystemExit) as error:
        report.errors.append(explain("celery_web_app", name, error))
        return
    server = "gunicorn" if kind == "wsgi" else "uvicorn"
    try:
        version = importlib.import_module(server).__version__
        importlib.import_module("celery_on_hosts.web.worker")
    except ImportError as error:
        report.errors.append(f"{server}, which serves the web side, does not import: {error}. Correct the lock.")
        return
    report.web = f"web side {kind[:4].upper()} by {server} {version}"
