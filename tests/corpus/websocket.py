"""The least of a websocket's client: one message there, one back. RFC 6455."""

from __future__ import annotations

import base64
import json
import os
import socket
from typing import Any

# A final frame of text; the mask bit, which each frame of a client has; the first length that needs more bytes.
TEXT, MASKED, SHORT = 0x81, 0x80, 126


def converse(address: str, port: int, path: str, host: str, message: Any, timeout: float = 20) -> Any:
    """Open a websocket, send a message as JSON, and return the first answer.

    Args:
        address: where the server is.
        port: its port.
        path: of the websocket.
        host: the name that the server is asked by; the page that opens the websocket is of the same name.
        message: less than 126 bytes of JSON.
        timeout: seconds that each answer may take.

    Raises:
        AssertionError: the server does not open the websocket, or sends something else than a short text.
    """
    with socket.create_connection((address, port), timeout) as connection:
        stream = connection.makefile("rwb")
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {host}",
            f"Origin: http://{host}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
        ]
        stream.write("\r\n".join([*lines, "", ""]).encode())
        stream.flush()
        status = stream.readline().decode().strip()
        assert " 101 " in status, f"{path}: {status}"
        while stream.readline().strip():
            pass  # the headers
        payload, mask = json.dumps(message).encode(), os.urandom(4)
        assert len(payload) < SHORT
        masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
        stream.write(bytes([TEXT, MASKED | len(payload)]) + mask + masked)
        stream.flush()
        kind, length = stream.read(2)
        assert kind == TEXT, f"{path}: a frame of kind {kind:#x}"
        assert length < SHORT, f"{path}: a frame of length {length}"
        return json.loads(stream.read(length))
