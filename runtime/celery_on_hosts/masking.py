"""Passwords of URLs, hidden wherever Celery shows its settings.

Celery hides that of ``broker_url``, but not of ``CELERY_BROKER_URL``, as a Django project names it: the report,
``inspect conf`` and Flower's pages would show it.
"""

from __future__ import annotations

import re
from typing import Any

from celery.app import utils

_PASSWORD = re.compile(r"(\w+://[^\s:@/]*):[^\s@]+@")
_filter_hidden_settings = utils.filter_hidden_settings


def mask(value: Any) -> Any:
    """The value with the password of every URL in it replaced by stars.

    Args:
        value: a setting; lists are looked into.
    """
    if isinstance(value, str):
        return _PASSWORD.sub(r"\1:********@", value)
    return [mask(item) for item in value] if isinstance(value, list | tuple) else value


def _filter(conf: dict[str, Any]) -> dict[str, Any]:
    return {name: mask(value) for name, value in _filter_hidden_settings(conf).items()}


def install() -> None:
    """Hide them in this process; done twice it is done once."""
    utils.filter_hidden_settings = _filter
