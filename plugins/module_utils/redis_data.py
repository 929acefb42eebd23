# SPDX-License-Identifier: MIT
"""Find what a Redis would lose by a start with an append-only file: keys that only its snapshot or its memory holds.

With ``appendonly yes`` Redis reads the append-only file only. Where there is none, Redis starts empty beside a snapshot
(``dump.rdb``), and its next snapshot replaces that one by an empty one.

Own code instead of python3-redis, because this also runs before any package is installed.
"""

from __future__ import annotations

import contextlib
import re
import socket
from pathlib import Path
from typing import BinaryIO

# Kinds of entries that may precede the first key in a snapshot.
AUX, SELECTDB, RESIZEDB, END = 0xFA, 0xFE, 0xFB, 0xFF


def has_append_only_file(folder: Path) -> bool:
    """Return whether Redis would read an append-only file below its data folder."""
    return any(folder.glob("appendonlydir/*.manifest")) or any(
        file.stat().st_size for file in folder.glob("appendonly.aof")
    )


def keys_in_snapshot(path: Path) -> str:
    """Return what a snapshot holds, in words; empty where it holds nothing or is missing.

    Debian's package leaves a snapshot without keys behind when its Redis stops. An incomplete
    snapshot counts as one that holds something.

    Args:
        path: the ``dump.rdb``.
    """
    try:
        with path.open("rb") as file:
            return _read_snapshot(file)
    except FileNotFoundError:
        return ""
    except (ValueError, OSError) as error:
        return f"data that cannot be read ({error})"


def _read_snapshot(file: BinaryIO) -> str:
    start = file.read(9)
    if not start:
        return ""
    if not re.fullmatch(rb"(REDIS|VALKEY)\d+", start):
        raise ValueError("it does not begin as a Redis snapshot")
    while (code := _take(file, 1)[0]) == AUX:
        _skip_text(file)
        _skip_text(file)
    if code == END:
        return ""
    if code == SELECTDB:
        database = _length(file)
        if _take(file, 1)[0] == RESIZEDB:
            count = _length(file)
            return f"{count} {'key' if count == 1 else 'keys'} in database {database}"
    return "data"


def _take(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise ValueError("it is cut short")
    return data


def _length(file: BinaryIO) -> int:
    """Read a length; a negative number stands for an integer of so many bytes."""
    first = _take(file, 1)[0]
    kind, low = first >> 6, first & 0x3F
    if kind == 0:
        return low
    if kind == 1:
        return low << 8 | _take(file, 1)[0]
    if first in (0x80, 0x81):
        return int.from_bytes(_take(file, 4 if first == 0x80 else 8), "big")
    if kind == 3 and low < 3:
        return -(1 << low)
    raise ValueError("it has an entry of an unknown kind")


def _skip_text(file: BinaryIO) -> None:
    _take(file, abs(_length(file)))


def keys_in_memory(address: str, port: int) -> str:
    """Return how many keys a running Redis holds, in words; empty where it holds none, or none runs.

    Args:
        address: where it listens.
        port: the port there.
    """
    answer = b""
    with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=2) as client:
        client.sendall(b"INFO keyspace\r\nQUIT\r\n")
        while part := client.recv(65536):
            answer += part
    if answer.startswith(b"-"):  # an error, such as NOAUTH: Redis wants a password
        return f"a running server that does not say how many keys it holds ({answer.decode(errors='replace').strip()})"
    counts = [int(count) for count in re.findall(rb"^db\d+:keys=(\d+)", answer, re.MULTILINE)]
    return f"{sum(counts)} {'key' if sum(counts) == 1 else 'keys'} in the memory of the server" if sum(counts) else ""


def lost_by_a_start(folder: Path, address: str, port: int) -> str:
    """Return what a start with ``appendonly yes`` would lose, in words; empty where it would lose nothing.

    Args:
        folder: Redis's data folder.
        address: where a running Redis listens, if one runs.
        port: the port there.
    """
    if has_append_only_file(folder):
        return ""
    snapshot = keys_in_snapshot(folder / "dump.rdb")
    return f"{snapshot} in {folder / 'dump.rdb'}" if snapshot else keys_in_memory(address, port)
