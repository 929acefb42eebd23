"""The app's own settings in an environment that needs nothing outside this process."""

import os

os.environ |= {
    "CELERY_BROKER_URL": "memory://",
    "CELERY_RESULT_BACKEND": "cache+memory://",
    "DATABASE_URL": "sqlite://:memory:",
    "SECRET_KEY": "only-for-tests",
    "ALLOWED_HOSTS": "testserver",
    "CELERY_RELEASE": "r-test",
}

from tasks.settings import *  # noqa: F403

CELERY_BROKER_TRANSPORT_OPTIONS = {"polling_interval": 0.02}  # seconds
