"""The web side's processes with real servers: WSGI by threads, ASGI by uvicorn, under old and new gunicorn."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import websockets
from conftest import RUNTIME

ASGI = """
import asyncio, os, time
time.sleep(float(os.environ.get("LOADING", "0")))
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        if os.environ.get("REFUSE"):
            await send({"type": "lifespan.startup.failed", "message": "the database is away"})
            return
        await asyncio.sleep(0.5)
        open("started", "w").close()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"].upper()})
    else:
        if scope["path"] == "/slow":
            await asyncio.sleep(2)
        text = f"asgi {scope['scheme']} {scope['client'][0]}".encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": text})
"""
WSGI = """
import os, time
time.sleep(float(os.environ.get("LOADING", "0")))
def create_app(word):
    def application(environ, start_response):
        start_response("200 OK", [])
        return [f"wsgi {word} {environ['wsgi.url_scheme']}".encode()]
    return application
"""
DJANGO = """
import os
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.signals import got_request_exception
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

def fail(request):
    raise LookupError("no such shelf")

class Answer:
    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        return self.get_response(request)

    def process_exception(self, request, exception):
        got_request_exception.send(None, request=request)
        return HttpResponse(status=500)

urlpatterns = [path("shelf", fail)]
options = {}
if os.environ.get("ANSWERS"):
    options["MIDDLEWARE"] = [f"{__name__}.Answer"]
if os.environ.get("LOGS"):
    options["LOGGING"] = {
        "version": 1, "disable_existing_loggers": False,
        "handlers": {"own": {"class": "logging.FileHandler", "filename": "own.log"}}, "root": {"handlers": ["own"]},
    }
settings.configure(ROOT_URLCONF=__name__, SECRET_KEY="x", ALLOWED_HOSTS=["*"], USE_TZ=True, **options)
wsgi, asgi = get_wsgi_application(), get_asgi_application()
"""
OLDEST = "gunicorn==20.1.0"
# A deployed host has this on, and this machine may not: then Linux resets the connections that wait at a socket that
# closes, where nothing that gunicorn or uvicorn does can help them.
MIGRATES = Path("/proc/sys/net/ipv4/tcp_migrate_req")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Web:
    """A web side as supervisord starts it."""

    def __init__(self, folder: Path, run_dir: Path, port: int, app: str, *options: str, **environment: str) -> None:
        self.port, self.report = port, run_dir / "web.json"
        config = ["--config", "python:celery_on_hosts.gunicorn_conf", "--reuse-port", "--bind", f"127.0.0.1:{port}"]
        path = ":".join([*([environment.pop("FIRST")] if "FIRST" in environment else []), str(RUNTIME)])
        self.log = (run_dir / "log").open("a")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", app, *config, *options],
            cwd=folder,
            env={"PYTHONPATH": path, "CELERY_RUN_DIR": str(run_dir), "CELERY_PROGRAM": "web", "PATH": ""} | environment,
            stdout=self.log,
            stderr=self.log,
        )

    def wait(self) -> Web:
        deadline = time.monotonic() + 60
        while not (self.report.exists() and json.loads(self.report.read_text())["pid"] == self.process.pid):
            assert self.process.poll() is None and time.monotonic() < deadline, Path(self.log.name).read_text()
            time.sleep(0.02)
        return self

    def get(self, path: str = "/", status: int = 200, **headers: str) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        assert answer.status == status
        return answer.read().decode()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(40)


@pytest.fixture
def web(app_dir, tmp_path):
    """Start web sides, and stop them afterwards."""
    folder, port, started = app_dir(site_asgi=ASGI, site_wsgi=WSGI, site_django=DJANGO), free_port(), []

    def start(app: str, *options: str, **environment: str) -> Web:
        started.append(Web(folder, tmp_path, port, app, *options, **environment))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


@pytest.fixture(scope="session")
def oldest(tmp_path_factory):
    """Install the oldest gunicorn that is supported into a folder of its own."""
    folder = tmp_path_factory.mktemp("oldest")
    uv = RUNTIME.parent / ".venv/bin/uv"
    install = [uv, "pip", "install", "--quiet", "--python", sys.executable, "--target", folder, OLDEST, "setuptools<81"]
    subprocess.run(install, check=True)
    return str(folder)


@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["each loads it", "loaded once"])
def test_asgi_is_served_once_it_has_started(web, preload):
    served = web("site_asgi:app", "--workers", "2", *preload).wait()
    assert (Path(served.report).parent / "app/started").exists()
    assert served.get() == "asgi http 127.0.0.1"
    assert served.get(X_Forwarded_Proto="https", X_Forwarded_For="192.0.2.7") == "asgi https 192.0.2.7"
    assert served.stop() == 0
    assert not served.report.exists()


def test_wsgi_is_served_by_threads_from_a_factory(web):
    served = web("site_wsgi:create_app('two words')", "--threads", "2").wait()
    assert served.get() == "wsgi two words http"
    assert served.stop() == 0


@pytest.mark.parametrize(("app", "said"), [("site_wsgi:create_app('old')", "wsgi old"), ("site_asgi:app", "asgi")])
def test_an_old_gunicorn_serves_both(web, oldest, app, said):
    served = web(app, "--threads", "2", FIRST=oldest).wait()
    assert served.get().startswith(said)
    assert served.stop() == 0


def test_a_web_side_that_refuses_to_start_never_reports(web):
    served = web("site_asgi:app", REFUSE="yes")
    assert served.process.wait(60) == 3
    assert not served.report.exists()
    assert "the database is away" in Path(served.log.name).read_text()


@pytest.mark.parametrize("app", ["site_django:wsgi", "site_django:asgi"])
def test_the_log_says_why_a_page_of_django_failed(web, app):
    """Django itself tells its administrators by mail, and no log."""
    served = web(app).wait()
    served.get("/shelf?token=secret", status=500)
    served.get("/nothing", status=404)
    served.stop()
    log = Path(served.log.name).read_text()
    assert "GET /shelf\nTraceback" in log
    assert log.count("LookupError: no such shelf") == 1


@pytest.mark.parametrize("environment", [{}, {"ANSWERS": "yes"}], ids=["by Django", "by a middleware"])
def test_a_django_that_logs_its_exceptions_is_left_alone(web, environment):
    """Where a middleware answers, Django's own record has no exception."""
    served = web("site_django:wsgi", LOGS="yes", **environment).wait()
    served.get("/shelf", status=500)
    served.stop()
    assert "no such shelf" not in Path(served.log.name).read_text()
    assert (served.report.parent / "app/own.log").read_text().count("LookupError: no such shelf") == 1


def test_a_hand_over_fails_no_request(web):
    """The second process serves before the first is stopped, and the first finishes its request."""
    first = web("site_asgi:app").wait()
    slow: list[str] = []
    asking = threading.Thread(target=lambda: slow.append(first.get("/slow")))
    asking.start()
    time.sleep(0.3)
    second = web("site_asgi:app").wait()
    stopping = threading.Thread(target=first.stop)
    stopping.start()
    while stopping.is_alive():
        try:
            assert second.get().startswith("asgi")
        except ConnectionResetError:
            if MIGRATES.exists() and MIGRATES.read_text().strip() == "1":
                raise
    asking.join()
    assert slow == ["asgi http 127.0.0.1"]
    assert json.loads(second.report.read_text())["pid"] == second.process.pid


@pytest.mark.parametrize("app", ["site_asgi:app", "site_wsgi:create_app('x')"])
def test_no_request_waits_for_a_process_that_loads_the_application(web, app):
    """Neither in a hand-over nor when one of several processes has died; of the first process there is no other."""
    first = web(app, "--workers", "2", LOADING="3").wait()
    second = web(app, LOADING="3")

    def longest() -> float:
        began = time.monotonic()
        first.get()
        return time.monotonic() - began

    slowest = 0.0
    while json.loads(first.report.read_text())["pid"] != second.process.pid:
        assert second.process.poll() is None, Path(second.log.name).read_text()
        slowest = max(slowest, longest())
    assert slowest < 2
    assert first.stop() == 0
    assert second.get()


def test_a_websocket_is_served_and_closed_at_the_stop(web):
    served = web("site_asgi:app").wait()

    async def talk() -> int | None:
        async with websockets.connect(f"ws://127.0.0.1:{served.port}/") as client:
            await client.send("hello")
            assert await client.recv() == "HELLO"
            served.process.send_signal(signal.SIGTERM)
            with pytest.raises(websockets.ConnectionClosed):
                await asyncio.wait_for(client.recv(), 20)
            return client.close_code

    assert asyncio.run(talk()) == 1012, "the server restarts"
    assert served.process.wait(20) == 0


def test_processes_end_when_their_parent_is_killed(web):
    served = web("site_asgi:app").wait()
    children = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children").read_text().split()
    served.process.kill()
    served.process.wait()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline, "they live on"
        time.sleep(0.1)
