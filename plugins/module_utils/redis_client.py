# SPDX-License-Identifier: MIT
"""Talk to a Redis in its own protocol. Own code instead of python3-redis, which a host of others may lack."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import BinaryIO


class RedisError(Exception):
    """What Redis refuses, in its own words."""


def password_of(configuration: Path) -> str:
    """Return the password that a redis.conf demands; empty where it demands none."""
    try:
        text = configuration.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    found = re.findall(r"(?m)^\s*requirepass\s+(\S+)\s*$", text)
    return found[-1].strip("\"'") if found else ""


class RedisClient:
    """A connection.

    Args:
        address: where Redis listens.
        port: the port there.
        timeout: seconds that an answer may take.

    Raises:
        OSError: nobody listens there.
    """

    def __init__(self, address: str, port: int, timeout: float = 600) -> None:
        self.socket = socket.create_connection((address, port), timeout=timeout)
        self.answers = self.socket.makefile("rb")

    def __enter__(self) -> RedisClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.answers.close()
        self.socket.close()

    def __call__(self, *words: str) -> str:
        """Give a command and return its answer as a text, a list as lines.

        Raises:
            RedisError: Redis refuses it.
            OSError: the connection broke.
        """
        parts = [word.encode() for word in words]
        self.socket.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(one), one) for one in parts))
        return _answer(self.answers)

    def info(self, section: str) -> dict[str, str]:
        """Return what INFO says of a section."""
        return dict(line.split(":", 1) for line in self("INFO", section).splitlines() if ":" in line)

    def setting(self, name: str) -> str:
        """Return a setting; empty where Redis has none of that name."""
        return self("CONFIG", "GET", name).partition("\n")[2]


def _answer(file: BinaryIO) -> str:
    line = file.readline().rstrip(b"\r\n").decode("utf-8", "replace")
    kind, rest = line[:1], line[1:]
    if kind == "-":
        raise RedisError(rest)
    if kind in ("+", ":"):
        return rest
    if kind == "$":
        size = int(rest)
        return file.read(size + 2)[:-2].decode("utf-8", "replace") if size >= 0 else ""
    if kind == "*":
        return "\n".join(_answer(file) for _ in range(int(rest)))
    raise ConnectionError("Redis closed the connection")
