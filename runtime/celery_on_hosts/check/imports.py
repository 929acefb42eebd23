"""Import the application, as ``celery -A`` does, and say why where that fails."""

from __future__ import annotations

import errno
import sys
import traceback
from pathlib import Path
from typing import Literal

from celery import Celery
from celery.app.utils import find_app

from ..platform_file import PlatformError
from . import libraries, writes


class ImportFailed(Exception):
    """The application does not import; the message says where and why."""


def import_app(name: str) -> Celery:
    """Import the application with all its task modules.

    Args:
        name: what ``-A`` takes.

    Raises:
        ImportFailed: it does not import, or is no Celery application.
        PlatformError: the platform refuses to run it.
    """
    try:
        app = find_app(name)
        if not isinstance(app, Celery):
            raise ImportFailed(f"-A {name} gives {type(app).__name__}, not a Celery application.")
        app.loader.import_default_modules()
        app.finalize()
        app.conf.finalize()
    except (ImportFailed, PlatformError):
        raise
    except (Exception, SystemExit) as error:
        raise ImportFailed(explain("-A", name, error)) from error
    return app


def check_django(name: str) -> list[str]:
    """Run Django's own checks where the application is a Django project, and say what they find.

    Celery has run them when it imported the application, as at each start of a worker, and tells nobody what they find.
    They import URLs, views and admin, and with these modules that may define tasks.

    Args:
        name: what ``-A`` takes, for messages.

    Returns:
        the errors.

    Raises:
        ImportFailed: what the checks import does not import.
    """
    if "django.apps" not in sys.modules:
        return []
    from django.apps import apps
    from django.core.checks import run_checks

    try:
        found = run_checks() if apps.ready else []
    except (Exception, SystemExit) as error:
        raise ImportFailed(explain("-A", name, error)) from error
    return [f"Django's check: {one}" for one in found if one.is_serious() and not one.is_silenced()]


def explain(option: Literal["-A", "celery_web_app"], name: str, error: BaseException) -> str:
    """Say in a few lines what failed and where, in the application's code rather than in Celery's.

    Args:
        option: what names the module.
        name: the module and what is in it.
        error: what its import raised.
    """
    what = f"-A {name}" if option == "-A" else f"{option} ({name})"
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, SyntaxError) and error.filename:
        return f"{what} does not import: {text}\n  {error.filename}, line {error.lineno}"
    frame = _innermost_own_frame(error, name)
    if frame is None and option == "-A":
        if isinstance(error, ModuleNotFoundError) and f"{name.partition(':')[0]}.".startswith(f"{error.name}."):
            missing = f"there is no module {error.name}"
            return f"{what} does not import: {missing}. Is celery_app right, and does the release hold it?"
        if isinstance(error, AttributeError):
            return f"{what} names a module without a Celery application: {error}. Write module:attribute."
    lines = [f"{what} does not import: {text}"]
    if frame is not None:
        lines.append(f"  {frame.filename}, line {frame.lineno}: {frame.line}")
    if isinstance(error, ModuleNotFoundError):
        lines.append(f"  Add the package that holds {error.name} to the application's lock.")
    package = libraries.advice(error)
    if package:
        lines.append(f"  {package}")
    lines += [f"  {text}" for text in _of_writes(error)]
    if _raised_by_a_check(error):
        lines.append(
            '  One of Django\'s checks raised it. With CELERY_SKIP_CHECKS: "yes" in celery_app_environment, neither '
            "this check nor a worker runs them."
        )
    return "\n".join(lines)


def _of_writes(error: BaseException) -> list[str]:
    """Say what to do about an error that comes of a write below the release."""
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS, errno.EPERM) and error.filename:
        text = writes.advise(str(error.filename))
        return [f"The application cannot write below its release. {text}"] if text else []
    if "unable to open database file" in str(error) or "readonly database" in str(error):
        return [
            "The application cannot write below its release. List the file of the SQLite database in celery_app_state, "
            "or put it below $CELERY_DATA_DIR."
        ]
    return []


def _raised_by_a_check(error: BaseException) -> bool:
    """Tell whether one of Django's checks failed itself, rather than the import of what it looks at."""
    frames = traceback.extract_tb(error.__traceback__)
    begins = [index for index, frame in enumerate(frames) if frame.name == "run_checks"]
    return bool(begins) and not any(frame.filename.startswith("<frozen") for frame in frames[begins[-1] :])


def _innermost_own_frame(error: BaseException, name: str) -> traceback.FrameSummary | None:
    """Return the last place in the application's own code that an error passed through, or None.

    The application's package, as ``name`` begins, is its own code where it is installed among the packages, too.
    """
    own = name.partition(":")[0].partition(".")[0]
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen")
        and Path(frame.filename) != Path(__file__)
        and ("/lib/python" not in frame.filename or f"/site-packages/{own}/" in frame.filename)
    ]
    return frames[-1] if frames else None
