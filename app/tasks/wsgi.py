"""The web server's entry point: ``gunicorn tasks.wsgi:application``."""

import os

from django.core.wsgi import get_wsgi_application

from .celery import app
from .timeouts import answer_in_time

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tasks.settings")

application = get_wsgi_application()
answer_in_time(app)
