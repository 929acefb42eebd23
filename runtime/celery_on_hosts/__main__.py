"""The ``celery`` command, as ``python -m celery``, that knows the platform's own commands from the start.

Celery's command looks up ``inspect release`` before it has loaded an application's loader.
"""

from __future__ import annotations

import sys

from celery.__main__ import main

from . import control  # noqa: F401

if __name__ == "__main__":
    sys.argv[0] = "celery"
    sys.exit(main())
