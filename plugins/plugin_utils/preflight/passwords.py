# SPDX-License-Identifier: MIT
"""Check that each password can reach the service that takes it. A message never shows the password.

Addresses, files and definitions encode whatever a password holds. What is refused here is what a service, or a client
of the service, cannot take in any encoding.
"""

from __future__ import annotations

import re
import stringprep
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from .problem import Problem

VAULT = "ansible-vault keeps a trailing line end: encrypt with `printf %s PASSWORD | ansible-vault encrypt_string`."


def check_passwords(variables: Mapping[str, Any]) -> Iterator[Problem]:
    """Check the passwords that the inventory sets; generated passwords hold letters and digits only.

    Args:
        variables: a host's variables.
    """
    for name, value in variables.items():
        if name.endswith("_password") and isinstance(value, str):
            yield from _check_printable(name, value)
    database = variables.get("celery_database_password")
    if isinstance(database, str) and variables.get("celery_database_enabled"):
        yield from _check_database(database)
    flower = variables.get("celery_flower_password")
    if isinstance(flower, str) and variables.get("celery_flower_enabled"):
        yield from _check_flower(flower)


def describe(character: str) -> str:
    """Return a character as a message may name it."""
    known = {"\n": "a line end", "\r": "a carriage return", "\t": "a tab", "\0": "a NUL", ",": "a comma"}
    name = unicodedata.name(character, "").lower()
    return known.get(character) or f"U+{ord(character):04X}{f' ({name})' if name else ''}"


def _check_printable(name: str, value: str) -> Iterator[Problem]:
    hidden = next((character for character in value if not character.isprintable()), "")
    if hidden:
        where = " at its end" if value.endswith(hidden) else ""
        advice = VAULT if hidden in "\r\n" else f"Set {name} without that character."
        yield Problem(name, f"{describe(hidden)}{where}", "letters, digits, marks and spaces", advice)


def _check_database(value: str) -> Iterator[Problem]:
    name = "celery_database_password"
    if re.fullmatch(r"md5[0-9a-f]{32}|SCRAM-SHA-256\$.*", value):
        found = "a text that PostgreSQL takes for the digest of a password"
        yield Problem(name, found, "the password itself", "Choose another password.")
    elif any(map(stringprep.in_table_d1, value)):
        found = "a letter that is written from right to left, which PostgreSQL's clients encode differently"
        yield Problem(name, found, "other letters", "Choose another password.")


def _check_flower(value: str) -> Iterator[Problem]:
    refused = next((character for character in value if character == "," or not character.isascii()), "")
    if refused:
        reason = "separates accounts there" if refused == "," else "makes Flower answer 500"
        yield Problem(
            "celery_flower_password",
            f"{describe(refused)}, which {reason}",
            "ASCII characters without a comma",
            "Choose another password for Flower's page.",
        )
