"""Run the command: ``python -m celery_on_hosts.dead``."""

import sys

from .command import main

if __name__ == "__main__":
    sys.exit(main())
