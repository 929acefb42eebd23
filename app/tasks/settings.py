"""Django's settings, from the environment alone (README.md has the table)."""

import base64
import os
import re
from pathlib import Path

import environ
from celery.schedules import crontab, solar
from django.core.management.utils import get_random_secret_key
from django.utils.crypto import salted_hmac

from . import logs, queues

env = environ.Env()
BASE_DIR = Path(__file__).resolve().parent.parent

# Read as it is: environ would take a key that starts with `$` for the name of another variable. A key of this process
# alone is safe, and enough to try the app; `check --deploy` knows it by its prefix and says so.
SECRET_KEY = os.environ.get("SECRET_KEY") or "django-insecure-" + get_random_secret_key()
DEBUG = env.bool("DEBUG", default=False)
# Health probes come from the host itself and name it by a loopback address.
ALLOWED_HOSTS = [*env.list("ALLOWED_HOSTS", default=[]), "localhost", "127.0.0.1", "[::1]"]
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

INSTALLED_APPS = [
    "whitenoise.runserver_nostatic",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "tasks",
    "django_celery_beat",
    "django_celery_results",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "tasks.limits.middleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "tasks.access.LoginMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "tasks.csp.middleware",
]
ROOT_URLCONF = "tasks.urls"
WSGI_APPLICATION = "tasks.wsgi.application"
APPEND_SLASH = False
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_REQUIRED = env.bool("LOGIN_REQUIRED", default=False)  # of people and programs; the probes are open
LOGIN_URL, LOGIN_REDIRECT_URL, LOGOUT_REDIRECT_URL = "login", "index", "login"
DATA_UPLOAD_MAX_MEMORY_SIZE = 64 * 1024  # bytes of a request's body

DATABASE_URL = env.str("DATABASE_URL", default=f"sqlite:///{BASE_DIR / 'db.sqlite3'}")
DATABASES = {"default": env.db_url_config(DATABASE_URL)}
given = DATABASES["default"].get("OPTIONS", {})
if DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql":
    # A page must not wait for a database that does not answer: seconds, and milliseconds.
    DATABASES["default"]["OPTIONS"] = {"connect_timeout": 3, "tcp_user_timeout": 5000, **given}
elif DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # It has one writer at a time: a transaction waits for its turn (seconds) when it begins, and readers for nobody.
    turns = {"transaction_mode": "IMMEDIATE", "timeout": 20, "init_command": "PRAGMA journal_mode = WAL"}
    DATABASES["default"]["OPTIONS"] = {**turns, **given}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TIME_ZONE = env.str("TIME_ZONE", default="UTC")  # of the pages, and of crontab() in the beat schedule below
USE_TZ = True
STATIC_URL = "/static/"
WHITENOISE_USE_FINDERS = True  # straight from the package: no collectstatic, nothing for a proxy to know

# With TLS in front (the proxy must set X-Forwarded-Proto, which gunicorn honours from loopback).
HTTPS_ONLY = env.bool("HTTPS_ONLY", default=False)
SECURE_SSL_REDIRECT = CSRF_COOKIE_SECURE = SESSION_COOKIE_SECURE = HTTPS_ONLY
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]
SECURE_HSTS_SECONDS = 365 * 86400 if HTTPS_ONLY else 0
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]  # HSTS of subdomains and preload: the domain's owner says

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "text": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"},
        "json": {"()": logs.JsonLines},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json" if logs.JSON else "text"}},
    "root": {"handlers": ["stderr"], "level": env.str("LOG_LEVEL", default="INFO")},
    "loggers": {"django": {"handlers": [], "level": "INFO", "propagate": True}},
}

# The world outside. URLs lead to no private address but these, such as localhost:8000. A webhook's secret is as
# standardwebhooks.com has it. Mail goes to the worker's log unless a server is named, and to nobody but these.
URL_CHECK_ALLOW = env.list("URL_CHECK_ALLOW", default=[])
WEBHOOK_SECRET = (
    os.environ.get("WEBHOOK_SECRET")
    or "whsec_"
    + base64.b64encode(salted_hmac("tasks.webhook", "", secret=SECRET_KEY, algorithm="sha256").digest()).decode()
)
globals().update(env.email_url("EMAIL_URL", default="consolemail://"))
EMAIL_TIMEOUT = 10  # seconds
EMAIL_RECIPIENTS = env.list("EMAIL_RECIPIENTS", default=["@example.com"])
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="tasks@localhost")

FAULTS = env.bool("TASKS_FAULTS", default=False)  # the API takes tasks that do harm

CELERY_BROKER_URL = env.str("CELERY_BROKER_URL", default="redis://localhost:6379/0")
CELERY_RESULT_BACKEND = env.str("CELERY_RESULT_BACKEND", default="redis://localhost:6379/1")
CELERY_RESULT_EXTENDED = True
CELERY_TASK_TRACK_STARTED = True

# Other result stores, for the tasks of examples/stores.py; SQLAlchemy's is the same database by its own name.
RESULT_STORES = {
    "rpc": "rpc://",
    "django": "django-db",
    "sqlalchemy": "db+" + re.sub("^postgres(ql)?:", "postgresql+psycopg:", DATABASE_URL),
    "memcached": env.str("MEMCACHED_URL", default=""),
}

# JSON, unless a task asks for another one of these. Never pickle: who can write to the broker could run any code.
CELERY_ACCEPT_CONTENT = ["json", "msgpack", "yaml"]
CELERY_RESULT_ACCEPT_CONTENT = ["json"]
# With a key, each message is signed, and one that is not is refused.
if CELERY_SECURITY_KEY := env.str("CELERY_SECURITY_KEY", default=""):
    CELERY_SECURITY_CERTIFICATE = env.str("CELERY_SECURITY_CERTIFICATE")
    CELERY_SECURITY_CERT_STORE = env.str("CELERY_SECURITY_CERT_STORE")
    CELERY_TASK_SERIALIZER = "auth"
    CELERY_ACCEPT_CONTENT = ["auth"]

# More queues than Celery's own, once there are workers that read them.
if QUEUES := env.list("TASKS_QUEUES", default=[]):
    CELERY_TASK_QUEUES = queues.task_queues(QUEUES, CELERY_BROKER_URL)
    CELERY_TASK_ROUTES = queues.task_routes(QUEUES)

# Beat keeps its schedule in the database, where /admin/ edits it. The entries below are written there at its start.
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_TIMEZONE = TIME_ZONE
CELERY_BEAT_SCHEDULE = {
    "relay": {"task": "tasks.relay", "schedule": 5.0},  # seconds
    "tick": {"task": "tasks.tick", "schedule": 30.0},
    "prune": {"task": "tasks.prune", "schedule": crontab(minute=0)},  # each full hour
    "clean-up": {"task": "tasks.clean_up", "schedule": crontab(hour=3, minute=30)},  # each night
    "clean-stores": {"task": "tasks.clean_stores", "schedule": crontab(hour=4, minute=10)},
    "sunset": {"task": "tasks.tick", "schedule": solar("sunset", 52.52, 13.4), "args": ["sunset"]},  # in Berlin
}
