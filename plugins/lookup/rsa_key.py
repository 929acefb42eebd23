# SPDX-License-Identifier: MIT
"""Ansible lookup: a private RSA key, made on first use."""

from __future__ import annotations

DOCUMENTATION = r"""
name: rsa_key
short_description: A private RSA key, made on first use
description:
  - Returns the text of a key's file on the controller. Where there is none, a key is made, for the user who runs
    Ansible alone. It works as P(ansible.builtin.password#lookup) does, in a dry run, too.
options:
  _terms:
    description: The keys' files.
    required: true
author:
  - Celery on Hosts
"""

EXAMPLES = r"""
- name: Show a certificate of the key
  ansible.builtin.debug:
    msg: "{{ lookup('celery_on_hosts.platform.rsa_key', inventory_dir ~ '/secrets/signing_key.pem')
      | celery_on_hosts.platform.self_signed('celery') }}"
"""

RETURN = r"""
_raw:
  description: The keys, unencrypted PKCS #8 in PEM.
  type: list
  elements: str
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

BITS = 3072


def read_or_make(path: Path) -> str:
    """Return the key in a file, and make the key where there is no file. Two callers at once get the same key.

    Raises:
        OSError: the file cannot be read or written.
    """
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(make())
            with contextlib.suppress(FileExistsError):
                os.link(scratch, path)
        finally:
            scratch.unlink(missing_ok=True)
    return path.read_text(encoding="ascii")


def make() -> bytes:
    """Return a new private key as unencrypted PKCS #8 in PEM."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=BITS)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


class LookupModule(LookupBase):
    """Ansible's entry point."""

    def run(self, terms: Sequence[Any], variables: Any = None, **kwargs: Any) -> list[str]:
        """Return the keys in these files.

        Raises:
            AnsibleLookupError: a file cannot be read or written.
        """
        try:
            return [read_or_make(Path(str(term))) for term in terms]
        except (OSError, UnicodeDecodeError) as error:
            raise AnsibleLookupError(f"rsa_key: {error}") from error
