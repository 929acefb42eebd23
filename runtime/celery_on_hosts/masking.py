"""The passwords of URLs, hidden wherever Celery shows its settings.

Celery hides the password of ``broker_url``, but not of ``CELERY_BROKER_URL``, as a Django project names it: the report,
``inspect conf`` and Flower's pages would show it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.app import utils

from .couplings import HIDDEN_PASSWORDS
from .text import mask_passwords
from .upstream import replace

Conf = dict[str, Any]


def install() -> None:
    """Hide them in this process. Idempotent."""
    if HIDDEN_PASSWORDS.fits():
        replace(utils, "filter_hidden_settings", _hide_passwords)


def _hide_passwords(filter_hidden_settings: Callable[[Conf], Conf]) -> Callable[[Conf], Conf]:
    def filter_with_passwords(conf: Conf) -> Conf:
        return {name: _hide(value) for name, value in filter_hidden_settings(conf).items()}

    return filter_with_passwords


def _hide(value: Any) -> Any:
    """Replace the password of every URL in a setting by stars; lists are looked into."""
    if isinstance(value, str):
        return mask_passwords(value, "********")
    return [_hide(item) for item in value] if isinstance(value, list | tuple) else value
