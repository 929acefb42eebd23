"""Requests to addresses that people type: what is refused, and that nothing gets around it."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import trustme
from pytest_django import Settings

from tasks import outbound
from tasks.outbound import Refused, Unreachable

PUBLIC = "93.184.215.14"


class Site(BaseHTTPRequestHandler):
    """Answers as the path says, and remembers who asked for what."""

    protocol_version = "HTTP/1.1"
    asked: list[tuple[str, str]]

    def do_GET(self) -> None:
        self.asked.append((self.headers["Host"], self.path))
        if self.path.startswith("/to?"):
            self.answer(302, location=self.path.partition("?")[2])
        elif self.path == "/loop":
            self.answer(302, location="/loop")
        elif self.path == "/big":
            self.answer(200, b"x" * (outbound.MAX_BODY + 1))
        elif self.path == "/packed":
            self.answer(200, b"\x1f\x8b not unpacked", **{"content-encoding": "gzip"})
        else:
            self.answer(200 if self.path == "/" else 404, b"hello")

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def serving(tls: ssl.SSLContext | None = None, handler: type[Site] | None = None) -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler or type("Handler", (Site,), {"asked": []}))
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def site(settings: Settings) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """A server on this machine that the environment allows: its URL, and the list of what it was asked."""
    with serving() as server:
        place = f"127.0.0.1:{server.server_port}"
        settings.URL_CHECK_ALLOW = [place]
        yield f"http://{place}", server.RequestHandlerClass.asked  # type: ignore[attr-defined]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[str]]]:
    """What names resolve to: for each a list of answers, of which the last one is repeated."""
    known: dict[str, list[list[str]]] = {}
    resolve: Callable[..., Any] = socket.getaddrinfo

    def answer(host: str, *args: Any, **kwargs: Any) -> Any:
        if host not in known:
            return resolve(host, *args, **kwargs)
        answers = known[host]
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [found for address in addresses for found in resolve(address, *args, **kwargs)]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    return known


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Where it was connected to; nobody is there."""
    made: list[tuple[str, int]] = []

    def refuse(address: tuple[str, int], *_: Any, **__: Any) -> None:
        made.append(address)
        raise ConnectionRefusedError("nobody is there")

    monkeypatch.setattr(socket, "create_connection", refuse)
    return made


# --- which addresses ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", [PUBLIC, "1.1.1.1", "2606:4700:4700::1111", "2a00:1450:4001:80b::200e"])
def test_public_addresses(address: str) -> None:
    assert outbound.is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.8.8", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
        *("169.254.169.254", "100.64.0.1", "100.100.100.200", "192.0.0.8", "192.0.0.192", "192.0.2.1", "192.88.99.1"),
        *("198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "233.252.0.1", "239.255.255.255", "240.0.0.1"),
        *("255.255.255.255", "::", "::1", "fe80::1", "fe80::1%lo", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1"),
        *("ff0e::1", "::ffff:127.0.0.1", "::ffff:93.184.215.14", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::a00:1"),
        *("100::1", "2001::1", "2001:10::1", "2001:db8::1", "2002:7f00:1::", "2002:a00:1::", "3fff::1", "5f00::1"),
    ],
)
def test_other_addresses(address: str) -> None:
    assert not outbound.is_public(address)


# --- which URLs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://localhost/",
        "http://LOCALHOST./",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://0/",
        "http://[::1]/",
        "http://[::]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[fe80::1%25lo]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1:443/",
        "http://①②⑦.⓪.⓪.①/",
    ],
)
def test_an_address_that_is_not_public_is_refused(url: str, connections: list[Any]) -> None:
    with pytest.raises((Refused, Unreachable)):
        outbound.ask("GET", url)
    assert connections == []


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "must begin with http"),
        ("example.org", "must begin with http"),
        ("//example.org/", "must begin with http"),
        ("file:///etc/passwd", "must begin with http"),
        ("gopher://example.org/", "must begin with http"),
        ("http:///path", "must begin with http"),
        ("http://user:password@example.org/", "user or a password"),
        ("http://example.org@127.0.0.1/", "user or a password"),
        ("http://example.org:22/", "port must be 80 or 443"),
        ("http://example.org:6379/", "port must be 80 or 443"),
        ("http://example.org:99999/", "not a URL"),
        ("http://example.org:x/", "not a URL"),
        ("http://[::1/", "not a URL"),
        ("http://a..b/", "not a URL"),
        (f"http://{'a' * 64}.example/", "not a URL"),
        ("http://example.org/\r\nX: y", "no spaces"),
        ("http://example.org/a b", "no spaces"),
        ("http://exa\tmple.org/", "no spaces"),
        ("http://example.org/\0", "no spaces"),
        ("http://example.org/" + "a" * 2000, "at most 2000"),
    ],
)
def test_what_is_no_url_of_the_web_is_refused(url: str, words: str, connections: list[Any]) -> None:
    with pytest.raises(Refused, match=words):
        outbound.ask("GET", url)
    assert connections == []


def test_one_private_address_among_public_ones_is_enough(names: Any, connections: list[Any]) -> None:
    names["both.example"] = [[PUBLIC, "10.0.0.1"]]
    with pytest.raises(Refused, match=r"^both\.example is not a public address$"):
        outbound.ask("GET", "http://both.example/")
    assert connections == []


def test_this_machines_own_public_address_is_refused(
    names: Any, connections: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    names["own.example"] = [["127.0.0.1"]]
    monkeypatch.setattr(outbound, "is_public", lambda address: True)
    with pytest.raises(Refused):
        outbound.ask("GET", "http://own.example/")
    assert connections == []


def test_it_connects_to_what_was_checked_and_resolves_once(names: Any, connections: list[Any]) -> None:
    names["rebinding.example"] = [[PUBLIC], ["127.0.0.1"]]
    with pytest.raises(Unreachable):
        outbound.ask("GET", "http://rebinding.example/")
    assert connections == [(PUBLIC, 80)]
    with pytest.raises(Refused):  # the next request is checked anew
        outbound.ask("GET", "http://rebinding.example/")
    assert connections == [(PUBLIC, 80)]


def test_each_address_is_tried(names: Any, connections: list[Any]) -> None:
    names["two.example"] = [[PUBLIC, "1.1.1.1"]]
    with pytest.raises(Unreachable, match="nobody is there"):
        outbound.ask("GET", "https://two.example/")
    assert connections == [(PUBLIC, 443), ("1.1.1.1", 443)]


def test_an_unknown_name(names: Any) -> None:
    names["nowhere.example"] = [[]]
    with pytest.raises(Unreachable, match="not known"):
        outbound.ask("GET", "http://nowhere.example/")


def test_the_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch, connections: list[Any]) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:3128")
    with pytest.raises(Unreachable):
        outbound.ask("GET", f"http://{PUBLIC}/")
    assert connections == [(PUBLIC, 80)]


# --- answers ------------------------------------------------------------------------------------------------------


def test_an_answer(site: Any) -> None:
    url, asked = site
    answer = outbound.ask("GET", f"{url}/?q=ä%20b&c=[d]#part")
    assert (answer.status, answer.body, answer.ok, answer.whole) == (404, b"hello", False, True)
    assert asked == [(url.removeprefix("http://"), "/?q=%C3%A4%20b&c=%5Bd%5D")]
    assert outbound.ask("GET", url).ok


def test_only_this_host_and_port_is_allowed(site: Any) -> None:
    url, asked = site
    with serving() as other, pytest.raises(Refused):
        outbound.ask("GET", f"http://127.0.0.1:{other.server_port}/")
    with pytest.raises(Refused):
        outbound.ask("GET", url.replace("127.0.0.1", "localhost"))
    assert asked == []


def test_a_large_answer_is_cut_off(site: Any) -> None:
    answer = outbound.ask("GET", f"{site[0]}/big")
    assert (len(answer.body), answer.whole) == (outbound.MAX_BODY, False)


def test_nothing_is_unpacked(site: Any) -> None:
    assert outbound.ask("GET", f"{site[0]}/packed").body == b"\x1f\x8b not unpacked"


def test_redirects_are_followed(site: Any) -> None:
    url, asked = site
    answer, passed = outbound.follow(f"{url}/to?/to?{url}/")
    assert (answer.url, answer.status) == (f"{url}/", 200)
    assert passed == [f"{url}/to?/to?{url}/", f"{url}/to?{url}/"]
    assert len(asked) == 3


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://localhost/",
        "//127.0.0.1:6379/",
        "http://inside.example/",
        "file:///etc/passwd",
        "http://[::1",
        "http://user@example.org/",
    ],
)
def test_a_redirect_is_no_way_in(site: Any, names: Any, target: str) -> None:
    names["inside.example"] = [["192.168.1.1"]]
    url, asked = site
    with pytest.raises(Refused):
        outbound.follow(f"{url}/to?{target}")
    assert len(asked) == 1


def test_redirects_come_to_an_end(site: Any) -> None:
    url, asked = site
    with pytest.raises(Unreachable, match="more than 5 redirects"):
        outbound.follow(f"{url}/loop")
    assert len(asked) == outbound.MAX_REDIRECTS + 1


@pytest.mark.parametrize(
    "start", [b"", b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"]
)
def test_a_server_that_drips_has_no_more_time_than_others(settings: Settings, start: bytes) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    settings.URL_CHECK_ALLOW = [f"127.0.0.1:{port}"]

    def drip() -> None:
        with listener, listener.accept()[0] as connection:
            try:
                connection.sendall(start)
                for _ in range(1000):
                    connection.sendall(b"x" if start else b"\n")
                    time.sleep(0.02)
            except OSError:
                return  # it has hung up, as it should

    thread = threading.Thread(target=drip)
    thread.start()
    began = time.monotonic()
    with pytest.raises(Unreachable):
        outbound.ask("GET", f"http://127.0.0.1:{port}/", deadline=outbound.Deadline(0.3))
    assert time.monotonic() - began < 5
    thread.join(5)
    assert not thread.is_alive()


def test_an_answer_of_very_small_parts(settings: Settings) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    settings.URL_CHECK_ALLOW = [f"127.0.0.1:{listener.getsockname()[1]}"]

    def flood() -> None:
        with listener, listener.accept()[0] as connection:
            try:
                connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 10**6)
            except OSError:
                return

    threading.Thread(target=flood, daemon=True).start()
    began = time.monotonic()
    with pytest.raises(Unreachable, match="in time"):
        outbound.ask("GET", f"http://{settings.URL_CHECK_ALLOW[0]}/", deadline=outbound.Deadline(0.5))
    assert time.monotonic() - began < 5


def test_headers_without_end(settings: Settings) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    settings.URL_CHECK_ALLOW = [f"127.0.0.1:{listener.getsockname()[1]}"]

    def flood() -> None:
        with listener, listener.accept()[0] as connection:
            try:
                connection.sendall(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1_000_000)
            except OSError:
                return

    threading.Thread(target=flood, daemon=True).start()
    with pytest.raises(Unreachable):
        outbound.ask("GET", f"http://{settings.URL_CHECK_ALLOW[0]}/")


@pytest.mark.parametrize(("certified", "trusted"), [("site.example", True), ("other.example", False)])
def test_tls_is_verified_for_the_name_though_the_address_is_pinned(
    settings: Settings, names: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any, certified: str, trusted: bool
) -> None:
    ca, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(certified).configure_cert(tls)
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    names["site.example"] = [["127.0.0.1"]]
    with serving(tls) as server:
        settings.URL_CHECK_ALLOW = [f"site.example:{server.server_port}"]
        url = f"https://site.example:{server.server_port}/"
        if trusted:
            assert outbound.ask("GET", url).body == b"hello"
        else:
            with pytest.raises(Unreachable, match="Hostname mismatch"):
                outbound.ask("GET", url)
