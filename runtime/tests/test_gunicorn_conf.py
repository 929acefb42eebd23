"""gunicorn with the platform's configuration: it reports that it serves, and starts as workers do."""

from __future__ import annotations

import gc
import json
import socket
import subprocess
import sys
import time

import pytest
from conftest import RUNTIME

APP = """
import gc, json
loading = gc.get_threshold()
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps([loading, gc.get_threshold(), gc.get_freeze_count()]).encode()]
"""


@pytest.fixture(params=[[], ["--preload"]], ids=["each loads it", "loaded once"])
def web(app_dir, tmp_path, request):
    """Start gunicorn, wait until it reports that it serves, and stop it afterwards."""
    folder = app_dir(site_app=APP)
    config = ["--config", "python:celery_on_hosts.gunicorn_conf", "--bind", f"unix:{tmp_path}/web.sock"]
    environment = {"PYTHONPATH": str(RUNTIME), "CELERY_RUN_DIR": str(tmp_path), "CELERY_PROGRAM": "web"}
    command = [sys.executable, "-m", "gunicorn", "site_app:application", "--no-control-socket", *config, *request.param]
    process = subprocess.Popen(command, cwd=folder, env=environment)
    report, deadline = tmp_path / "web.json", time.monotonic() + 30
    try:
        while not report.exists():
            assert process.poll() is None and time.monotonic() < deadline, "it does not serve"
            time.sleep(0.02)
        said = json.loads(report.read_text())
        yield process, said, tmp_path / "web.sock"
    finally:
        process.terminate()
        process.wait(20)
    assert not report.exists(), "it has ended"


def test_it_says_that_it_serves(web):
    process, said, _ = web
    assert (said["program"], said["pid"], said["connected"]) == ("web", process.pid, True)


def test_garbage_is_collected_once_the_application_is_loaded_and_not_before(web):
    *_, path = web
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    loading, serving, frozen = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert loading[0] == 1_000_000
    assert serving == list(gc.get_threshold())
    assert frozen > 1000
