"""The check of a release loads the web side, and says what is wrong with it before anything is switched."""

from __future__ import annotations

import json

import pytest
from conftest import PLAIN

SITE = """
def wsgi(environ, start_response): ...
async def asgi(scope, receive, send): ...
def create_app(mode):
    if mode == "late":
        import threading, time
        threading.Thread(target=time.sleep, args=(600,)).start()
    if mode == "broken":
        raise RuntimeError("no database")
    return asgi
"""


@pytest.fixture
def check(platform, app_dir, python):
    """Check a plain application with a web side; returns the exit code, the report and stderr."""

    def run(**keys):
        platform(**keys)
        done = python(app_dir(tasks=PLAIN, site_=SITE), "-m", "celery_on_hosts.check", "--app", "tasks", "--json")
        return done.returncode, json.loads(done.stdout), done.stderr

    return run


@pytest.mark.parametrize(
    ("app", "words"),
    [
        ("site_:wsgi", "web side WSGI by gunicorn "),
        ("site_:asgi", "web side ASGI by uvicorn "),
        ("site_:create_app('production')", "web side ASGI by uvicorn "),
        ("site_:create_app('late')", "web side ASGI by uvicorn "),  # with a thread that would not let it end
    ],
)
def test_the_server_is_chosen_by_what_the_application_is(check, app, words):
    code, report, stderr = check(web_app=app)
    assert (code, stderr) == (0, "")
    assert report["web"].startswith(words)


@pytest.mark.parametrize(
    ("app", "words"),
    [
        ("site_:asgy", ["celery_web_app is site_:asgy: the module site_ has no asgy; did you mean asgi?"]),
        ("sight:app", ["celery_web_app is sight:app: there is no module sight"]),
        ("site_:create_app('broken')", ["RuntimeError: no database", "site_.py, line 9", "celery_web_app"]),
    ],
)
def test_what_cannot_be_served_is_refused(check, app, words):
    code, report, stderr = check(web_app=app)
    assert code == 1
    assert all(word in stderr for word in words), stderr
    assert report["web"] == ""


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("celery --port $CELERY_WEB_PORT", 0, ""),
        ("python -m site_ ${CELERY_WEB_ADDRESS}:$PORT", 0, ""),
        ("cellery --port $PORT", 1, "cellery: neither on PATH nor a file in"),
        ("celery --port $WEB_PORT", 1, "celery_web_command: the variable WEB_PORT is not set"),
    ],
)
def test_a_command_needs_its_program_and_its_variables(check, command, code, words):
    found, report, stderr = check(web_app="", web_command=command)
    assert found == code
    assert words in stderr
    assert bool(report["web"]) is (code == 0)


def test_a_command_gets_its_address(app_dir, python):
    show = "import os, sys\nprint(sys.argv, os.environ['CELERY_WEB_PORT'])\n"
    arguments = ["127.0.0.1", "8000", "python", "show.py", "$CELERY_WEB_ADDRESS:${PORT}", "100$$"]
    done = python(app_dir(show=show), "-m", "celery_on_hosts.web.command", *arguments)
    assert done.stdout == "['show.py', '127.0.0.1:8000', '100$'] 8000\n"
