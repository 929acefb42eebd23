# SPDX-License-Identifier: MIT
"""Jinja filter that makes the certificate of a key that signs messages."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime

try:
    from ansible.errors import AnsibleFilterError as _Error
except ImportError:  # the unit tests need no Ansible
    _Error = ValueError


def self_signed(key: str, name: str) -> str:
    """Return a certificate of a private key, signed by itself, that does not expire (RFC 5280, 4.1.2.5).

    The certificate depends on the key and the name alone, so only the key has to be kept. The modules of
    community.crypto choose another serial number each time.

    Args:
        key: RSA, unencrypted, in PEM.
        name: the common name of subject and issuer.

    Raises:
        AnsibleFilterError: `key` is no unencrypted RSA key in PEM.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    try:
        private = serialization.load_pem_private_key(key.encode(), password=None)
    except (ValueError, TypeError) as error:
        raise _Error(f"self_signed: this is no unencrypted private key in PEM ({type(error).__name__})") from None
    if not isinstance(private, rsa.RSAPrivateKey):
        raise _Error("self_signed: the key is not RSA, and Celery takes no other")
    public = private.public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    digest = hashlib.sha256(public.public_bytes(serialization.Encoding.DER, form)).digest()
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(public)
        .serial_number(int.from_bytes(digest[:16], "big") | 1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
        .sign(private, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Callable[..., str]]:
        """Return the filters by name."""
        return {"self_signed": self_signed}
