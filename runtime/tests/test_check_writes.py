"""What an application writes below its release is said by the check, with what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from conftest import PLAIN, RUNTIME

SETTINGS = """
from pathlib import Path
BASE_DIR = Path(__file__).parent
SECRET_KEY = 'x'
DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': BASE_DIR / 'db.sqlite3'}}
MEDIA_ROOT = BASE_DIR / 'media'
STATIC_ROOT = BASE_DIR / 'staticfiles'
"""
DJANGO = "import django\ndjango.setup()\n" + PLAIN


@pytest.fixture
def check(platform, app_dir, python):
    """Check an application; returns the exit code, the warnings and stderr."""

    def run(text: str, settings: str = "", **keys):
        platform(**keys)
        folder = app_dir(tasks=text, site_settings=settings)
        named = {"DJANGO_SETTINGS_MODULE": "site_settings"} if settings else {}
        done = python(folder, "-m", "celery_on_hosts.check", "--app", "tasks", "--json", **named)
        return done.returncode, json.loads(done.stdout)["warnings"] if done.returncode < 2 else [], done.stderr

    return run


def test_django_writes_a_database_uploads_and_static_files(check):
    code, warnings, _ = check(DJANGO, SETTINGS)
    assert code == 0
    assert [text.split(" is ")[0] for text in warnings] == ["DATABASES[default]", "MEDIA_ROOT", "STATIC_ROOT"]
    assert "List db.sqlite3 in celery_app_state" in warnings[0]
    assert "List media/ in celery_app_state" in warnings[1]
    assert "celery_web_static_commands" in warnings[2]


def test_what_is_linked_is_not_warned_of(check):
    assert check(DJANGO, SETTINGS, state=["media/", "db.sqlite3"], static=["staticfiles/"])[1] == []
    elsewhere = SETTINGS.replace("BASE_DIR / ", "'/var/lib/celery/data/' + ")
    assert check(DJANGO, elsewhere)[1] == []


def test_a_log_file_in_the_working_folder(check):
    text = "import logging\nlogging.getLogger('shop').addHandler(logging.FileHandler('app.log'))\n" + PLAIN
    (warning,) = check(text)[1]
    assert warning.startswith("a log file of the logger shop is ")
    assert "List app.log in celery_app_state" in warning


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("logging.FileHandler('app.log')", "List app.log in celery_app_state"),
        ("sqlite3.connect('app.db').execute('create table t (x)')", "List the file of the SQLite database"),
    ],
)
def test_an_import_that_writes_below_the_release_says_what_to_do(platform, app_dir, line, words):
    """Without root's right to write everywhere, as the user celery on a host."""
    platform()
    folder = app_dir(tasks=f"import logging, sqlite3\n{line}\n" + PLAIN)
    folder.chmod(0o555)
    without_rights = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-all"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*without_rights, sys.executable, "-m", "celery_on_hosts.check", "--app", "tasks"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(RUNTIME)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "tasks.py, line 2" in done.stderr
    assert words in done.stderr
