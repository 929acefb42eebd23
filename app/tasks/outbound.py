"""HTTP requests to addresses that people type, and no way into this network.

A person who may choose where a server connects to can reach what only the server can reach: the broker, a cloud's
metadata, a printer. So the name is resolved here, each address that it has must be a public one, and the connection
goes to the address that was checked. A name that means something else a moment later changes nothing. The check is in
the place where connections are made: whatever leads there, a redirect too, is checked.
"""

import ipaddress
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from django.conf import settings

PORTS = {"http": 80, "https": 443}  # no others: the machines of a deployment may trust each other's public addresses
MAX_URL = 2000  # characters
MAX_BODY = 2**20  # bytes
MAX_REDIRECTS = 5
SECONDS = 10.0  # for an answer with all of its redirects; the system's resolver has limits of its own
REDIRECTS = (301, 302, 303, 307, 308)

# What `is_global` of some Python lets pass though it leads elsewhere: addresses that carry an IPv4 address, and blocks
# that were set aside later on. IPv6 has its public addresses in 2000::/3, and nothing else.
PUBLIC_IPV6 = ipaddress.ip_network("2000::/3")
NOT_PUBLIC = [
    ipaddress.ip_network(block)
    for block in ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
]


class Refused(ValueError):
    """This URL is not asked: it is none of the web, or leads into a network."""


class Unreachable(ConnectionError):
    """There was no answer, or none in time."""


@dataclass(frozen=True)
class Answer:
    """What a server said; `body` is the first MiB as it was sent, `whole` tells if that is all of it."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool

    @property
    def ok(self) -> bool:
        """Whether the status says success."""
        return 200 <= self.status < 300


class Deadline:
    """A moment that all the waiting of a request has to end by. A timeout each would begin anew with every byte."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds until then.

        Raises:
            Unreachable: it is over.
        """
        left = self.end - time.monotonic()
        if left <= 0:
            raise Unreachable("no answer in time")
        return left


def is_public(address: str) -> bool:
    """Tell whether an IP address is one of the internet's, and of a single machine."""
    ip = ipaddress.ip_address(address)
    if ip.version == 6 and ip not in PUBLIC_IPV6:
        return False
    return ip.is_global and not ip.is_multicast and not any(ip in block for block in NOT_PUBLIC)


def _is_own(address: str, port: int) -> bool:
    """Tell whether a public address is this machine's: the system would talk to it from that very address."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, port))  # of UDP: nothing is sent
        except OSError:
            return False  # there is no way to it
        return ipaddress.ip_address(probe.getsockname()[0]) == ipaddress.ip_address(address)


def split(url: str) -> SplitResult:
    """Return the parts of a URL that may be asked, as far as its text tells.

    Raises:
        Refused: it says why, in words for the one who typed it.
    """
    if len(url) > MAX_URL or not url.isprintable() or " " in url:
        raise Refused(f"the URL must have at most {MAX_URL} characters, and no spaces")
    try:
        parts = urlsplit(url)
        port, host = parts.port, (parts.hostname or "").encode("idna")
    except ValueError:
        raise Refused("this is not a URL") from None
    if parts.scheme not in PORTS or not host:
        raise Refused("the URL must begin with http:// or https:// and name a host")
    if parts.username is not None or parts.password is not None:
        raise Refused("the URL must not have a user or a password")
    if _place(parts) not in allowed() and port not in (None, *PORTS.values()):
        raise Refused("the URL's port must be 80 or 443")
    return parts


def allowed() -> set[tuple[str, int]]:
    """Return the hosts and ports that the environment allows, wherever they are."""
    entries = [urlsplit(f"//{entry}") for entry in settings.URL_CHECK_ALLOW]
    return {(entry.hostname or "", entry.port or 0) for entry in entries}


def _place(parts: SplitResult) -> tuple[str, int]:
    return parts.hostname or "", parts.port or PORTS[parts.scheme]


def addresses(host: str, port: int) -> list[str]:
    """Resolve a host, once.

    Raises:
        Refused: one of its addresses or its port is not the internet's, and the environment does not allow the host.
        Unreachable: it has no address.
    """
    try:
        found = [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError):
        raise Unreachable(f"{host} is not known") from None
    if (host, port) in allowed():
        return found
    # One that is not public is enough: nobody has both for a good reason. Which one it is, is the network's to know.
    if port not in PORTS.values() or not all(is_public(one) and not _is_own(one, port) for one in found):
        raise Refused(f"{host} is not a public address")
    return found


def ask(
    method: str,
    url: str,
    headers: Mapping[str, str] | None = None,
    content: bytes = b"",
    deadline: Deadline | None = None,
) -> Answer:
    """Send one request and return the answer, a redirect as it is.

    Args:
        method: such as GET.
        url: http or https.
        headers: besides Host and User-Agent.
        content: the request's body.
        deadline: when the answer has to be there; 10 seconds from now unless given.

    Raises:
        Refused: the URL may not be asked. Nothing was sent.
        Unreachable: there was no answer, or not in time, or it was not HTTP.
    """
    import httpcore  # it takes a while, and few processes ask anybody

    from .guard import Guard

    parts = split(url)
    host = parts.hostname or ""
    target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    if parts.query:
        target += "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~-._?")
    name = host.encode("idna")
    address = httpcore.URL(scheme=parts.scheme, host=name, port=parts.port, target=target)
    deadline = deadline or Deadline(SECONDS)
    sent = {
        "Host": (f"[{host}]" if ":" in host else name.decode()) + (f":{parts.port}" if parts.port else ""),
        "User-Agent": "tasks (an example of Celery)",
        "Accept-Encoding": "identity",  # so that a MiB is a MiB
        **(headers or {}),
    }
    try:
        with (
            httpcore.ConnectionPool(network_backend=Guard(deadline)) as pool,
            pool.stream(method, address, headers=list(sent.items()), content=content or None) as response,
        ):
            body = bytearray()
            for part in response.iter_stream():
                body += part
                deadline.left()  # a part may be a byte, and thousands come by one read
                if len(body) > MAX_BODY:
                    break
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
        raise Unreachable(f"{host}: {error or type(error).__name__}") from error
    found = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
    return Answer(url, response.status, found, bytes(body[:MAX_BODY]), len(body) <= MAX_BODY)


def follow(url: str) -> tuple[Answer, list[str]]:
    """GET a URL and go where it redirects to, up to five times and ten seconds.

    Returns:
        the last answer, and the URLs that redirected.

    Raises:
        Refused: the URL, or one that it redirects to, may not be asked.
        Unreachable: there was no answer, or there were too many.
    """
    deadline, passed = Deadline(SECONDS), list[str]()
    while True:
        answer = ask("GET", url, deadline=deadline)
        if answer.status not in REDIRECTS or "location" not in answer.headers:
            return answer, passed
        passed.append(url)
        if len(passed) > MAX_REDIRECTS:
            raise Unreachable(f"more than {MAX_REDIRECTS} redirects")
        try:
            url = urljoin(url, answer.headers["location"])
        except ValueError:
            raise Refused("it redirects to what is not a URL") from None
