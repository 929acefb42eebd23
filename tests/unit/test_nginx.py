"""The front door with a real nginx: what it passes on, whom it believes, what it refuses."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celery_on_hosts.platform.plugins.module_utils import front_door
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils import web

from tests.unit.rendering import GROUPS, Platform

ROOT = Path(__file__).parents[2]
USER = "user root;" if os.geteuid() == 0 else ""  # the tests' folders are root's alone
CONFIGURATION = """
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log {folder}/access.log combined;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
{site}
}}
"""


class WebSide(BaseHTTPRequestHandler):
    """Answers with the headers that it got; /slow takes a while, and an upgrade becomes a websocket that echoes."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.headers.get("Upgrade") == "websocket":
            self.echo()
            return
        if self.path == "/slow":
            time.sleep(2)
        named = {"path": self.path, "name": getattr(self.server, "name", "")}
        text = json.dumps(named | {name.lower(): value for name, value in self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def echo(self) -> None:
        """Accept a websocket, and send one short message back."""
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode(), usedforsecurity=False).digest()).decode()
        self.send_response(101)
        for name, value in (("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept)):
            self.send_header(name, value)
        self.end_headers()
        _, length = self.rfile.read(2)
        mask, text = self.rfile.read(4), self.rfile.read(length & 127)
        word = bytes(byte ^ mask[place % 4] for place, byte in enumerate(text)).upper()
        self.wfile.write(struct.pack("BB", 0x81, len(word)) + word)
        self.close_connection = True

    def log_message(self, format: str, *arguments: Any) -> None:
        """Be quiet."""


class Named(ThreadingHTTPServer):
    """A server that answers with its name.

    Args:
        place: where it listens.
        name: its name.
    """

    def __init__(self, place: tuple[str, int], name: str) -> None:
        self.name = name
        super().__init__(place, WebSide)


class FrontDoor:
    """nginx with the platform's site, before a web side.

    Args:
        folder: for its files.
        backend: the port of the web side.
        places: by the end of an inventory's address and port, where its server listens in this test.
        variables: of the inventory.
    """

    def __init__(self, folder: Path, backend: int, places: Mapping[str, str] | None = None, **variables: Any) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port = int(listener.getsockname()[1])
        self.folder = folder
        self.files = Platform(celery_web_port=self.port, **variables).files("nginx")
        site = str(self.files["/etc/nginx/conf.d/celery.conf"]["content"]).replace(f"listen [::]:{self.port}", "#")
        for place, used in {"127.0.0.1:8000": f"127.0.0.1:{backend}", **(places or {})}.items():
            site = site.replace(place, used)
        (folder / "nginx.conf").write_text(CONFIGURATION.format(folder=folder, site=site, user=USER))
        self.process = subprocess.Popen([ROOT / "bin/nginx", "-c", folder / "nginx.conf", "-p", folder])
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                break
            except OSError:
                assert self.process.poll() is None, (folder / "error.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def ask(self, path: str = "/", body: bytes | None = None, **headers: str) -> tuple[int, dict[str, str]]:
        """Return the status of an answer, and the headers that the web side got."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("POST" if body is not None else "GET", path, body, named)
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if answer.status == 200 and text.startswith(b"{") else {}

    def stop(self) -> None:
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(20)


@pytest.fixture(scope="module")
def backend() -> Iterator[int]:
    """Run a web side."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), WebSide)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


@pytest.fixture
def door(tmp_path: Path, backend: int) -> Iterator[Any]:
    """Start front doors, and stop them afterwards."""
    started: list[FrontDoor] = []

    def start(**variables: Any) -> FrontDoor:
        started.append(FrontDoor(tmp_path, backend, **variables))
        return started[-1]

    yield start
    for one in started:
        one.stop()


FORGED = {
    "X_Forwarded_Proto": "https",
    "X_Forwarded_For": "203.0.113.5",
    "X_Forwarded_Host": "evil.example.org",
    "X_Forwarded_Port": "443",
    "X_Forwarded_Ssl": "on",
    "X_Forwarded_Protocol": "ssl",
    "X_Real_IP": "203.0.113.5",
    "Forwarded": "for=203.0.113.5",
}


def test_a_stranger_is_believed_nothing(door: Any) -> None:
    status, got = door(celery_trusted_proxies=["192.0.2.0/24"]).ask(Host="shop.example.org", **FORGED)
    assert status == 200
    forwarded = {name: value for name, value in got.items() if "forwarded" in name or "real" in name}
    assert forwarded == {"x-forwarded-for": "127.0.0.1", "x-forwarded-proto": "http", "x-real-ip": "127.0.0.1"}
    assert got["host"] == "shop.example.org"


def test_a_trusted_proxy_is_believed_and_the_real_client_is_logged(door: Any) -> None:
    front = door(celery_trusted_proxies=["127.0.0.1", "10.0.0.0/8"])
    headers = FORGED | {"X_Forwarded_For": "198.51.100.9, 203.0.113.5, 10.1.2.3"}
    _, got = front.ask(**headers)
    assert got["x-forwarded-proto"] == "https"
    assert got["x-forwarded-host"] == "evil.example.org"
    assert got["x-forwarded-port"] == "443"
    assert got["x-forwarded-for"] == "203.0.113.5", "the last address that is no proxy's; what is before may be forged"
    assert "x-forwarded-ssl" not in got
    _, plain = front.ask(X_Forwarded_Proto="http")
    assert plain["x-forwarded-proto"] == "http"
    _, odd = front.ask(X_Forwarded_Proto="gopher")
    assert odd["x-forwarded-proto"] == "http", "a scheme that is none is replaced by nginx's own"
    front.stop()
    assert (front.folder / "access.log").read_text().startswith("203.0.113.5 ")


def test_limits_are_the_inventorys(door: Any) -> None:
    upload = {"path": "/upload/", "config": "client_max_body_size 1m;\nproxy_read_timeout 5s;"}
    front = door(celery_web_body_size="10k", celery_web_timeout=1, celery_web_locations=[upload])
    assert front.ask("/", body=b"x" * 11_000)[0] == 413
    assert front.ask("/upload/", body=b"x" * 11_000)[0] == 200
    assert front.ask("/slow")[0] == 504


def test_further_locations_are_nginxs_own(door: Any) -> None:
    robots = {"path": "= /robots.txt", "config": "return 410;", "web": False}
    front = door(celery_web_locations=[robots])
    assert front.ask("/robots.txt")[0] == 410
    assert front.ask("/robots.txt/")[0] == 200


def test_the_application_is_served_under_its_names_alone(door: Any) -> None:
    front = door(celery_web_host="shop.example.org:8080", celery_web_names=["www.example.org"])
    assert front.ask(Host="shop.example.org")[0] == 200
    assert front.ask(Host="www.example.org:8080")[0] == 200
    assert front.ask(Host="evil.example.org")[0] == 421
    assert front.ask("/flower/metrics", Host="192.0.2.1")[0] == 404


def test_static_files_are_served_by_nginx(door: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "STATIC", f"{tmp_path}/static")
    monkeypatch.setattr(web, "DATA", f"{tmp_path}/data")
    for name in ("static/dist/a.css", "data/media/b.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(name)
    folders = [{"url": "/static/", "folder": "dist"}, {"url": "/media/", "folder": "media"}, {"folder": "css"}]
    front = door(celery_web_static=folders, celery_app_state=["media/"])
    assert [front.ask(path)[0] for path in ("/static/a.css", "/media/b.png")] == [200, 200]
    assert [front.ask(path)[0] for path in ("/static/b.png", "/media/", "/static/../secret")] == [404, 403, 200]
    assert front.ask("/static/../secret")[1]["path"] == "/static/../secret", (
        "outside of the folder it is the web side's"
    )


def test_a_websocket_passes(door: Any) -> None:
    front = door()
    with socket.create_connection(("127.0.0.1", front.port), 10) as client:
        client.sendall(
            b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        answer = client.recv(4096)
        assert answer.startswith(b"HTTP/1.1 101 ")
        assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in answer
        client.sendall(b"\x81\x85\x00\x00\x00\x00hello")
        while not answer.endswith(b"\x81\x05HELLO"):
            more = client.recv(4096)
            assert more, answer
            answer += more


TWO = {name: ["a"] for name in GROUPS} | {"web": ["a", "b"], "monitoring": ["a", "b"], "proxy": ["a", "b"]}


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Callable[[], list[dict[str, Any]]], FrontDoor, list[Named]]]:
    """A front door before two web sides and two Flowers, all of which say who they are; the first is this host's."""
    servers = [Named(("127.0.0.1", 0), name) for name in ("web1", "web2", "flower1", "flower2")]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    ports = (("1:8000", 0), ("2:8000", 1), ("1:5555", 2), ("2:5555", 3))
    places = {f"192.0.2.{end}": f"127.0.0.1:{servers[number].server_port}" for end, number in ports}
    front = FrontDoor(tmp_path, servers[0].server_port, places, groups=TWO)  # its own host's at loopback

    def proof() -> list[dict[str, Any]]:
        return front_door.ask(front.files["/etc/nginx/celery-front-door.json"]["content"], 10)

    yield proof, front, servers
    front.stop()
    for server in servers:
        server.shutdown()


def who(front: FrontDoor, path: str, **headers: Any) -> Counter[str]:
    """Return how often each server answered ten requests; a status where it is not 200."""
    answers = [front.ask(path, **headers) for _ in range(10)]
    return Counter(got.get("name", str(status)) for status, got in answers)


def test_every_web_side_gets_requests_and_flowers_first_alone(two: Any) -> None:
    _, front, _ = two
    assert set(who(front, "/")) == {"web1", "web2"}
    assert set(who(front, "/flower/")) == {"flower1"}, "each Flower shows what it has seen itself"


def test_what_a_dead_server_does_not_take_goes_to_another(two: Any) -> None:
    _, front, servers = two
    for server in (servers[0], servers[2]):
        server.shutdown()
        server.server_close()
    assert who(front, "/") == {"web2": 10}
    assert who(front, "/flower/") == {"flower2": 10}
    assert front.ask("/", body=b"x")[0] == 200


def test_the_proof_finds_the_dead_server_behind_two(two: Any) -> None:
    proof, _, servers = two
    assert [check["name"] for check in proof() if check["ok"]] == [
        *("web", "web on a", "web on b", "flower", "flower on a", "flower on b")
    ]
    servers[1].shutdown()
    servers[1].server_close()
    failed = [check for check in proof() if not check["ok"]]
    assert [check["name"] for check in failed] == ["web on b"]
    assert failed[0]["detail"].endswith("/ (Host: a) answers 502")
    assert "on b: supervisorctl status web" in failed[0]["advice"]


def test_the_choice_of_a_server_is_not_passed_on(two: Any) -> None:
    _, front, _ = two
    assert who(front, "/", X_Celery_Server="2") == {"web2": 10}
    assert "x-celery-server" not in front.ask(X_Celery_Server="1")[1]


def test_a_front_door_that_is_closed_or_refuses_the_name_does_not_work(door: Any) -> None:
    front = door(celery_web_names=["shop.example.org"])
    page = {"name": "web", "server": "", "path": "/", "below": 500}
    text = json.dumps({"port": front.port, "checks": [page | {"host": host} for host in ("shop.example.org", "b")]})
    assert [check["ok"] for check in front_door.ask(text, 10)] == [True, False]
    front.stop()
    assert "does not answer" in front_door.ask(text, 10)[0]["detail"]
    assert front_door.ask("", 10) == [], "nothing is asked where nothing was deployed"
