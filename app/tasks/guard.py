"""Connections for httpcore that go only where `outbound.py` lets them, and end by a deadline."""

from collections.abc import Iterable
from typing import Any

import httpcore

from .outbound import Deadline, Unreachable, addresses


class _Stream(httpcore.NetworkStream):
    """A connection whose every step has to be done by the deadline."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self.stream, self.deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self.stream.read(max_bytes, self.deadline.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.stream.write(buffer, self.deadline.left())

    def close(self) -> None:
        self.stream.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self.stream.start_tls(ssl_context, server_hostname, self.deadline.left()), self.deadline)

    def get_extra_info(self, info: str) -> Any:
        return self.stream.get_extra_info(info)


class Guard(httpcore.NetworkBackend):
    """Makes connections for httpcore: resolves a name, checks what it means, connects to what was checked."""

    def __init__(self, deadline: Deadline) -> None:
        self.backend, self.deadline = httpcore.SyncBackend(), deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first of the host's addresses that answers, if it may be asked at all."""
        failed: Exception = Unreachable(f"{host} is not known")
        for address in addresses(host, port):
            try:
                stream = self.backend.connect_tcp(address, port, self.deadline.left(), local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
            else:
                return _Stream(stream, self.deadline)
        raise failed
