"""Write why a page failed to the web side's log, where nobody else does.

Without DEBUG, Django's own settings give the traceback of a view to the administrators by mail and to no log: a page
answers 500, and nothing says why. Flask, FastAPI and others write their tracebacks themselves.
https://docs.djangoproject.com/en/5.2/ref/logging/#default-logging-configuration
"""

from __future__ import annotations

import logging
import sys
from typing import Any

_WROTE_BY = "celery_on_hosts.web.exceptions"
_LOGGER = "django.request"
_REASON = "_celery_on_hosts_reason"


def install(log: Any) -> None:
    """Log the exceptions of Django's views. Idempotent; does nothing where the application has not loaded Django.

    Args:
        log: gunicorn's logger of the process.
    """
    if "django.core.handlers" not in sys.modules:
        return
    from django.core.signals import got_request_exception

    def write(sender: object, request: Any = None, **_: object) -> None:
        if sys.exc_info()[0] is None:
            return
        if is_logged():
            setattr(request, _REASON, sys.exc_info())
        else:
            log.exception("%s %s", getattr(request, "method", "?"), getattr(request, "path", "?"))

    got_request_exception.connect(write, weak=False, dispatch_uid=_WROTE_BY)
    logging.getLogger(_LOGGER).addFilter(add_reason)


def add_reason(record: logging.LogRecord) -> bool:
    """Add the exception to a record of a page that failed, where a middleware answered and Django knows of none."""
    request = getattr(record, "request", None)
    reason = getattr(request, _REASON, None)
    if reason:
        delattr(request, _REASON)  # with the frames of the exception, which have the request
        record.exc_info = record.exc_info or reason
    return True


def is_logged() -> bool:
    """Return whether a handler of the application's own writes what Django says of a view that failed."""
    from django.utils.log import AdminEmailHandler

    logger: logging.Logger | None = logging.getLogger(_LOGGER)
    record = logging.LogRecord(_LOGGER, logging.ERROR, __file__, 0, "", (), None)
    if not logger or not logger.isEnabledFor(record.levelno) or not logger.filter(record):
        return False
    while logger:
        for handler in logger.handlers:
            writes = not isinstance(handler, AdminEmailHandler | logging.NullHandler)
            if writes and handler.level <= record.levelno and handler.filter(record):
                return True
        logger = logger.parent if logger.propagate else None
    return False
