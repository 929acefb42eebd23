# SPDX-License-Identifier: MIT
"""Filters of the platform: what a template says badly."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from typing import Any

try:
    from ansible.errors import AnsibleFilterError as _Error
except ImportError:  # the unit tests need no Ansible
    _Error = ValueError

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def rabbitmq_password_hash(password: str, user: str) -> str:
    """Return a password as RabbitMQ's definitions hold it (rabbit_password_hashing_sha256).

    The salt follows from user and password, so that the same ones give the same file again.

    Args:
        password: the password.
        user: the account's name.

    Raises:
        AnsibleFilterError: the password is empty.
    """
    if not password:
        raise _Error(f"rabbitmq_password_hash: the password of {user} is empty")
    salt = hashlib.sha256(f"{user}\0{password}".encode()).digest()[:4]
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def account(password: str, name: str, key: str) -> str:
    """Return the name of the account that has a password: `celery_` and eight digits that follow from both.

    With another password it is another account, so that the one before goes on working beside it.

    Args:
        password: the password.
        name: what the account's name begins with.
        key: a secret. Many may read the name, and without the key nobody can try passwords by it.

    Raises:
        AnsibleFilterError: the password is empty.
    """
    if not password:
        raise _Error(f"account: the password of {name} is empty")
    digest = hmac.digest(key.encode(), f"{name}\0{password}".encode(), "sha256").hex()
    return f"{name}_{digest[:8]}"


def _pairs(variables: Any, filter_name: str) -> list[tuple[str, str]]:
    """Return environment variables as pairs of text, refusing what no environment can hold."""
    if not isinstance(variables, Mapping):
        raise _Error(f"{filter_name}: expected a mapping of names to values, found {type(variables).__name__}")
    pairs = []
    for name, value in variables.items():
        if not isinstance(name, str) or not NAME.match(name):
            raise _Error(f"{filter_name}: {name!r} is no name of an environment variable; allowed: letters, digits, _")
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise _Error(f"{filter_name}: {name} is {value!r}; programs see text, so write it in quotes")
        text = str(value)
        if re.search(r"[\n\r\0]", text):
            raise _Error(f"{filter_name}: the value of {name} has more than one line, which is not possible here")
        pairs.append((name, text))
    return sorted(pairs)


def env_file(variables: Mapping[str, Any]) -> str:
    """Return environment variables as `KEY='value'` lines, sorted, for `.` of a shell.

    Raises:
        AnsibleFilterError: a name or a value that cannot be written so.
    """
    lines = []
    for name, value in _pairs(variables, "env_file"):
        quoted = value.replace("'", "'\\''")
        lines.append(f"{name}='{quoted}'\n")
    return "".join(lines)


def supervisor_quote(value: Any) -> str:
    """Return a value quoted for `environment=` of a supervisord program.

    supervisord expands %, knows no escapes inside quotes, strips quotes of either kind from both ends, and takes a
    semicolon or a hash after a space for a comment. What that cannot hold is refused; it belongs into a file.

    Raises:
        AnsibleFilterError: the value cannot be written so.
    """
    text = str(value)
    if re.search(r"[\n\r\0]", text) or re.search(r"\s[;#]", text) or ('"' in text and "'" in text):
        raise _Error(f"supervisor_quote: {text!r} cannot be written into supervisord's configuration")
    if text != text.strip("'\""):
        raise _Error(f"supervisor_quote: {text!r} begins or ends with a quote, which supervisord would drop")
    quote = "'" if '"' in text else '"'
    return quote + text.replace("%", "%%") + quote


def supervisor_environment(variables: Mapping[str, Any]) -> str:
    """Return environment variables as supervisord's `environment=` takes them, sorted.

    Raises:
        AnsibleFilterError: a name or a value that cannot be written so.
    """
    return ",".join(f"{name}={supervisor_quote(value)}" for name, value in _pairs(variables, "supervisor_environment"))


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Callable[..., str]]:
        return {
            "account": account,
            "rabbitmq_password_hash": rabbitmq_password_hash,
            "env_file": env_file,
            "supervisor_quote": supervisor_quote,
            "supervisor_environment": supervisor_environment,
        }
