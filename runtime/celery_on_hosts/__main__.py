"""The ``celery`` command, as ``python -m celery``, that knows ``inspect release`` from the start.

Celery looks an inspect command up before it has loaded the application's loader, which would bring it.
"""

from __future__ import annotations

import sys

from celery.__main__ import main

from . import garbage

if __name__ == "__main__":
    garbage.put_off()
    sys.argv[0] = "celery"
    if "inspect" in sys.argv:  # for a worker it would be too early: gevent patches what it imports
        from . import control  # noqa: F401
    sys.exit(main())
