"""The health of this host, layer by layer.

Exit codes: 0 healthy, 1 degraded (it works, something needs a look), 2 unhealthy, 3 the check could not run.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import time

from ..platform_file import Platform, PlatformError
from .inspector import Inspector
from .report import NO_CHECK, STATUS, UNHEALTHY

PAUSE = 0.5  # seconds between two looks of --wait, at most: a release that starts is often there after 0.2


def main(argv: list[str] | None = None) -> int:
    """Run ``celery-health``.

    Args:
        argv: arguments; those of the process when None.

    Returns:
        the exit code, see the module.
    """
    options = _parser().parse_args(argv)
    try:
        inspector = Inspector(Platform.load(), options.timeout, not options.no_canary, own=options.wait > 0)
    except PlatformError as error:
        if options.json:
            print(json.dumps({"status": STATUS[NO_CHECK], "host": socket.gethostname(), "error": str(error)}))
        print(f"error: {error}", file=sys.stderr)
        return NO_CHECK
    deadline = time.monotonic() + options.wait
    pause = PAUSE / 8
    health = inspector.look()
    # Do not wait for a degraded host to recover: it works, and dead letters stay until somebody looks at them.
    while health.code == UNHEALTHY and time.monotonic() < deadline:
        time.sleep(pause)
        pause = min(pause * 1.5, PAUSE)
        health = inspector.look()
    print(json.dumps(health.as_json(), indent=1) if options.json else health.as_text())
    return health.code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="celery-health", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print the checks as JSON")
    parser.add_argument("--timeout", type=float, default=10.0, metavar="S", help="seconds for each answer (10)")
    wait = "try again until it works, at most S seconds; with the canaries until each worker of this host ran one"
    parser.add_argument("--wait", type=float, default=0.0, metavar="S", help=wait)
    parser.add_argument("--no-canary", action="store_true", help="send no canary tasks")
    return parser
