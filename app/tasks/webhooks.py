"""Sign webhooks, and check them, as https://www.standardwebhooks.com has it: libraries of many languages know how."""

import base64
import hashlib
import hmac
import time
from collections.abc import Mapping

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

FRESH = 300  # seconds, for clocks differ


def _secret() -> bytes:
    try:
        secret = base64.b64decode(settings.WEBHOOK_SECRET.removeprefix("whsec_"), validate=True)
    except ValueError:
        secret = b""
    if len(secret) < 24:
        raise ImproperlyConfigured("WEBHOOK_SECRET must be whsec_ and at least 24 bytes in base64")
    return secret


def signature(key: str, timestamp: str, body: bytes) -> str:
    """Return what proves that a message is ours, and as old as it says.

    Args:
        key: the message's id. It stays the same when the message is sent again.
        timestamp: when it is sent, in seconds since 1970.
        body: what is sent.

    Raises:
        ImproperlyConfigured: there is no proper secret.
    """
    code = hmac.digest(_secret(), f"{key}.{timestamp}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(code).decode()}"


def headers(key: str, body: bytes) -> dict[str, str]:
    """Return the headers of a message that is sent now."""
    now = str(int(time.time()))
    return {"webhook-id": key, "webhook-timestamp": now, "webhook-signature": signature(key, now, body)}


def is_genuine(headers: Mapping[str, str], body: bytes) -> bool:
    """Tell, as a receiver, whether a message is from who has the secret, unchanged, and not an old one sent anew.

    It may come twice nevertheless: the receiver remembers the ids that it has worked on.
    """
    key, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not (timestamp.isascii() and timestamp.isdigit() and abs(time.time() - int(timestamp[:12])) <= FRESH):
        return False
    wanted = signature(key, timestamp, body).encode()
    # There may be several, while a secret is replaced by another one.
    return any(hmac.compare_digest(wanted, one.encode()) for one in headers.get("webhook-signature", "").split(" "))
