"""The app's own settings in an environment that needs nothing outside this process."""

import os

# What a program that a test starts may have of the environment: how to find Python, and nothing of the app's.
BARE = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}

os.environ |= {
    "CELERY_BROKER_URL": "memory://",
    "CELERY_RESULT_BACKEND": "cache+memory://",
    "DATABASE_URL": "sqlite://:memory:",
    "SECRET_KEY": "only-for-tests",
    "ALLOWED_HOSTS": "testserver",
    "CELERY_RELEASE": "r-test",
}

from tasks.settings import *  # noqa: E402, F403

CELERY_BROKER_TRANSPORT_OPTIONS = {"polling_interval": 0.02}  # seconds
