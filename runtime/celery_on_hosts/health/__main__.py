"""Run the check: ``python -m celery_on_hosts.health``."""

import sys

from .. import garbage
from .command import main

if __name__ == "__main__":
    garbage.put_off()
    sys.exit(main())
