"""A key that signs messages is made once, and its certificate follows from the key."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ansible.errors import AnsibleError, AnsibleFilterError
from ansible.plugins.loader import lookup_loader
from ansible_collections.celery_on_hosts.platform.plugins.filter.signing import self_signed
from ansible_collections.celery_on_hosts.platform.plugins.lookup import rsa_key
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

NAME = "celery_on_hosts.platform.rsa_key"


@pytest.fixture(scope="module")
def key() -> str:
    return rsa_key.make().decode()


def test_a_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "secrets/signing_key.pem"
    lookup = lookup_loader.get(NAME)
    [first] = lookup.run([str(path)])
    assert lookup.run([str(path)]) == [first]
    assert first.startswith("-----BEGIN PRIVATE KEY-----")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_of_two_who_want_one_at_once_both_get_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getpid", iter(range(100)).__next__)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(rsa_key.read_or_make, [tmp_path / "key"] * 4))
    assert len(set(found)) == 1


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "secrets").write_text("a file")
    with pytest.raises(AnsibleError, match=r"rsa_key: .*secrets"):
        lookup_loader.get(NAME).run([str(tmp_path / "secrets/key")])


def test_a_certificate_follows_from_its_key(key: str) -> None:
    text = self_signed(key, "celery")
    assert self_signed(key, "celery") == text
    made = x509.load_pem_x509_certificate(text.encode())
    made.verify_directly_issued_by(made)
    assert made.public_key() == serialization.load_pem_private_key(key.encode(), None).public_key()
    assert made.subject.rfc4514_string() == "CN=celery"
    assert made.not_valid_before_utc < datetime.now(UTC)
    assert made.not_valid_after_utc.year == 9999


def test_two_keys_have_two_certificates(key: str) -> None:
    other = x509.load_pem_x509_certificate(self_signed(rsa_key.make().decode(), "celery").encode())
    assert x509.load_pem_x509_certificate(self_signed(key, "celery").encode()).serial_number != other.serial_number


def test_what_is_no_rsa_key_is_an_error() -> None:
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    curve = ec.generate_private_key(ec.SECP256R1()).private_bytes(pem, form, serialization.NoEncryption()).decode()
    for text, words in (("", "no unencrypted private key"), (curve, "not RSA")):
        with pytest.raises(AnsibleFilterError, match=words):
            self_signed(text, "celery")
