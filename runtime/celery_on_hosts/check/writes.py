"""Find what an application writes below its release, where it cannot: databases, uploads, logs.

A release belongs to root and is the same for as long as it exists. What an application writes there would be lost with
the next release, so the programs may not.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from celery import Celery

from ..platform_file import Platform
from .report import Report

ADVICE = (
    "List {name} in celery_app_state, which keeps it over releases, or let the application write below "
    "$CELERY_DATA_DIR."
)
STATIC_ADVICE = (
    "Where a command such as collectstatic fills it, list it in celery_web_static, with the command in "
    "celery_web_static_commands."
)
DJANGO_FOLDERS = ("MEDIA_ROOT", "EMAIL_FILE_PATH", "SESSION_FILE_PATH", "FILE_UPLOAD_TEMP_DIR")


def check(app: Celery, platform: Platform, report: Report) -> None:
    """Warn of what the application's settings say that it writes below the release."""
    linked = (*platform.state, *platform.static)
    seen = set()
    for what, path, advice in (*_of_celery(app), *_of_django(), *_of_logging()):
        name = below_release(path)
        if name and name not in seen and not _is_linked(name, linked):
            seen.add(name)
            report.warn("writes", f"{what} is {path}", "below the release, where the application cannot write", advice)


def below_release(path: str | os.PathLike[str]) -> str:
    """Return a path relative to the application's folder of a release; empty where it lies elsewhere."""
    folder = Path.cwd()
    try:
        return Path(os.path.normpath(folder / path)).relative_to(folder).as_posix()
    except ValueError:
        return ""


def advise(path: str | os.PathLike[str]) -> str:
    """Return what to do about a path that the application cannot write; empty where it is not below the release."""
    name = below_release(path)
    return ADVICE.format(name=name) if name else ""


def _is_linked(name: str, linked: tuple[str, ...]) -> bool:
    return any(name == one.strip("/") or name.startswith(one.strip("/") + "/") for one in linked)


def _found(what: str, path: Any, folder: bool = False) -> Iterator[tuple[str, str, str]]:
    if isinstance(path, str | os.PathLike) and str(path):
        name = below_release(path)
        yield what, str(path), ADVICE.format(name=f"{name}/" if folder else name)


def _of_celery(app: Celery) -> Iterator[tuple[str, str, str]]:
    address = str(app.conf.result_backend or "")
    scheme = address.partition(":")[0]
    if scheme.endswith("sqlite"):
        yield from _found("result_backend", urlsplit(address).path.removeprefix("/"))
    elif scheme == "file":
        yield from _found("result_backend", urlsplit(address).path, folder=True)


def _of_django() -> Iterator[tuple[str, str, str]]:
    if "django.conf" not in sys.modules:
        return
    from django.conf import settings

    if not settings.configured:
        return
    for alias, database in settings.DATABASES.items():
        if str(database.get("ENGINE", "")).endswith("sqlite3") and ":memory:" not in str(database.get("NAME")):
            yield from _found(f"DATABASES[{alias}]", database.get("NAME"))
    for alias, cache in settings.CACHES.items():
        if str(cache.get("BACKEND", "")).endswith("FileBasedCache"):
            yield from _found(f"CACHES[{alias}]", cache.get("LOCATION"), folder=True)
    for name in DJANGO_FOLDERS:
        yield from _found(name, getattr(settings, name, None), folder=True)
    root = getattr(settings, "STATIC_ROOT", None)
    if isinstance(root, str | os.PathLike) and str(root) and not Path(root).exists():
        yield "STATIC_ROOT", str(root), STATIC_ADVICE


def _of_logging() -> Iterator[tuple[str, str, str]]:
    known = [one for one in logging.root.manager.loggerDict.values() if isinstance(one, logging.Logger)]
    for logger in (logging.root, *known):
        for handler in logger.handlers:
            if isinstance(handler, logging.FileHandler):
                yield from _found(f"a log file of the logger {logger.name}", handler.baseFilename)
