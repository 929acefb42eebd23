import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from unit_settings import BARE

from tasks.timeouts import answer_in_time

APP = Path(__file__).resolve().parent.parent


def run(code: str, **env: str) -> str:
    """Run Python code in an environment that has these variables and nothing else of ours."""
    env = {**BARE, "DJANGO_SETTINGS_MODULE": "tasks.settings", **env}
    return subprocess.check_output([sys.executable, "-c", code], cwd=APP, env=env, text=True)


def setting(name: str, **env: str) -> Any:
    return json.loads(run(f"import json; from tasks import settings; print(json.dumps(settings.{name}))", **env))


def test_defaults_are_for_one_who_tries_it_alone() -> None:
    assert setting("DEBUG") is False
    assert setting("CELERY_BROKER_URL") == "redis://localhost:6379/0"
    assert setting("DATABASES")["default"]["ENGINE"] == "django.db.backends.sqlite3"
    assert setting("SECRET_KEY").startswith("django-insecure-")


@pytest.mark.parametrize("key", ["$HOME", "a$b\\$c", "'quoted'#=%"])
def test_secret_key_is_taken_as_it_is(key: str) -> None:
    assert setting("SECRET_KEY", SECRET_KEY=key) == key


def test_postgresql_is_bounded_and_its_password_decoded() -> None:
    database = setting("DATABASES", DATABASE_URL="postgresql://u:p%40%2F%25@db:5433/n?sslmode=require")["default"]
    assert (database["USER"], database["PASSWORD"], database["HOST"]) == ("u", "p@/%", "db")
    assert database["OPTIONS"] == {"connect_timeout": 3, "tcp_user_timeout": 5000, "sslmode": "require"}


def test_hosts() -> None:
    assert setting("ALLOWED_HOSTS", ALLOWED_HOSTS="a.example,b.example")[:2] == ["a.example", "b.example"]
    assert "*" not in setting("ALLOWED_HOSTS")


def test_check_deploy_is_clean_behind_tls() -> None:
    code = "from django.core.management import call_command as c; import django; django.setup(); "
    code += "c('check', deploy=True, fail_level='WARNING')"
    run(code, SECRET_KEY="0123456789abcdefghijklmnopqrstuvwxyz" * 2, HTTPS_ONLY="1", ALLOWED_HOSTS="a.example")


def test_probes_are_not_redirected_to_https() -> None:
    code = "import django; django.setup(); from django.test import Client; "
    code += "print([Client(headers={'host': 'localhost'}).get(p).status_code for p in ('/healthz', '/')])"
    assert run(code, HTTPS_ONLY="1") == "[200, 301]\n"


def test_celery_reads_its_addresses_from_the_environment() -> None:
    code = "from tasks import app; print(app.conf.broker_url, app.conf.result_backend)"
    env = {"CELERY_BROKER_URL": "amqp://u:p@h/v", "CELERY_RESULT_BACKEND": "redis://h/3"}
    assert run(code, **env) == "amqp://u:p@h/v redis://h/3\n"


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("redis://h/0", {"visibility_timeout": 7, "socket_connect_timeout": 2, "socket_timeout": 3}),
        ("amqp://h//", {"visibility_timeout": 7, "confirm_publish": True, "read_timeout": 3, "write_timeout": 3}),
        ("memory://", {"visibility_timeout": 7}),
    ],
)
def test_the_web_waits_for_seconds_and_keeps_what_was_set(
    monkeypatch: pytest.MonkeyPatch, url: str, options: dict[str, Any]
) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", url)
    app = Celery("other", set_as_current=False)
    app.conf.update(broker_transport_options={"visibility_timeout": 7}, result_backend_always_retry=True)
    answer_in_time(app)
    assert app.conf.broker_transport_options == options
    assert app.conf.result_backend_always_retry is False
    assert app.conf.broker_connection_timeout == 2


def test_mail_goes_to_the_log_unless_a_server_is_named() -> None:
    assert setting("EMAIL_BACKEND") == "django.core.mail.backends.console.EmailBackend"
    code = "from tasks import settings as s; print(s.EMAIL_HOST, s.EMAIL_PORT, s.EMAIL_HOST_USER, s.EMAIL_USE_TLS)"
    assert run(code, EMAIL_URL="smtp+tls://me:p%40ss@mail.example:587") == "mail.example 587 me True\n"


def test_a_webhooks_secret_is_made_of_the_apps() -> None:
    one, same, other = (setting("WEBHOOK_SECRET", SECRET_KEY=key) for key in ("a", "a", "b"))
    assert one == same != other
    assert setting("WEBHOOK_SECRET", WEBHOOK_SECRET="whsec_$x") == "whsec_$x"  # noqa: S106
