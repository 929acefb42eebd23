"""Check an application against the platform that it is to run on.

Exit codes: 0 it fits (warnings are printed), 1 it does not, 2 it does not import, 3 the check could not run.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

from celery import Celery
from kombu.exceptions import OperationalError

from ..loader import Loader
from ..platform_file import Platform, PlatformError
from ..upstream import UnknownUpstream
from . import beat, calls, dropped, limits, queues, results, settings, storage, tasks, upstream, web, writes
from .declare import declare, explain
from .imports import ImportFailed, check_django, import_app
from .report import Report, is_builtin

OK, UNFIT, NO_IMPORT, NO_CHECK = range(4)
SKIP_CHECKS = "CELERY_SKIP_CHECKS"  # Celery's, for Django's checks


def main(argv: list[str] | None = None) -> int:
    """Run the check from the command line.

    Args:
        argv: arguments; those of the process when None.

    Returns:
        the exit code, see the module.
    """
    options = _parser().parse_args(argv)
    try:
        platform = Platform.load()
        name = options.app or platform.app
        app = import_app(name)
        django = [] if os.environ.get(SKIP_CHECKS) else check_django(name)
    except UnknownUpstream as error:
        return _fail(UNFIT, str(error), options.json)
    except PlatformError as error:
        return _fail(NO_CHECK, str(error), options.json)
    except ImportFailed as error:
        return _fail(NO_IMPORT, str(error), options.json)
    report = check(app, platform, name)
    report.errors += django
    if options.declare and not report.errors:
        try:
            report.declared = declare(app, platform)
            for text in storage.check(app, platform):
                report.warn("storage", text)
            with app.connection_for_read() as connection:
                dropped.check_queues(connection, platform, report)
        except (OperationalError, OSError) as error:
            return _fail(NO_CHECK, f"{app.connection_for_write().as_uri()} does not answer: {error}", options.json)
        except app.connection_for_write().channel_errors as error:
            report.errors.append(explain(name, str(error)))
    if options.summary and not report.errors:
        print(json.dumps(report.summary()))
    _print(report, options.json, quiet=options.summary)
    return UNFIT if report.errors else OK


def check(app: Celery, platform: Platform, name: str) -> Report:
    """Compare the application with the platform. Nothing is sent anywhere.

    Args:
        app: the imported application.
        platform: what it is to run on.
        name: what ``-A`` takes, for messages.
    """
    report = Report(name, tasks=sum(not is_builtin(task) for task in app.tasks))
    if not isinstance(app.loader, Loader):
        report.errors.append(
            f"the application chooses its own loader ({type(app.loader).__module__}.{type(app.loader).__name__}), so "
            "it gets none of the platform's settings. Remove loader= from Celery(…)."
        )
        return report
    upstream.check(platform, report)
    queues.check(app, platform, report)
    settings.check(app, platform, report)
    loads = results.check(app, report)
    beat.check(app, platform, report)
    tasks.check(app, report)
    limits.check(app, platform, report)
    if loads:
        calls.check(app, report)
    dropped.check(app, report)
    web.check(platform, report)
    writes.check(app, platform, report)  # last: loading the web side makes loggers
    return report


def _parser() -> argparse.ArgumentParser:
    description = (__doc__ or "").split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m celery_on_hosts.check", description=description)
    parser.add_argument("--app", "-A", default=os.environ.get("CELERY_APP"), help="what celery -A takes")
    parser.add_argument("--declare", action="store_true", help="declare queues and exchanges at the broker")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    summary = "of an application that fits, print as JSON what the deployment keeps, and no warnings"
    parser.add_argument("--summary", action="store_true", help=summary)
    return parser


def _print(report: Report, as_json: bool, quiet: bool = False) -> None:
    if as_json:
        print(json.dumps(report.as_json(), indent=1))
    for text in report.errors:
        print(f"error: {text}", file=sys.stderr)
    for text in () if quiet else report.warnings:
        print(f"warning: {text}", file=sys.stderr)
    if not as_json and not quiet and not report.errors:
        queues_used = f"{report.app}: {report.tasks} tasks, queues {', '.join(sorted(report.routes))}"
        print("; ".join([queues_used, *filter(None, [report.web])]))


def _fail(code: int, text: str, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"status": "error", "errors": [text]}))
    print(f"error: {text}", file=sys.stderr)
    return code
