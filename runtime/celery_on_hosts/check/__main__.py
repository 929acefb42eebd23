"""Run the check: ``python -m celery_on_hosts.check``."""

import os
import sys
import threading

from .. import garbage
from .command import main

if __name__ == "__main__":
    garbage.put_off()
    code = main()
    if any(not one.daemon for one in threading.enumerate() if one is not threading.main_thread()):
        # The application started a thread while it was imported, which would not let the check end.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
