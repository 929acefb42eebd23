"""Choose between the application's own result store and the platform's.

The environment names the platform's store twice: in ``CELERY_RESULT_BACKEND``, which Celery puts above the
application's settings, and in ``PLATFORM_RESULTS_VARIABLE``. Where both are the same, nobody has decided, and a store
that the application names is used, unless it is the kind of address that stands in every tutorial: a Redis of the
developer's machine or of a container, or the memory of the process. The platform's cache, which an application with
one address of Redis for everything names too, is no store either. Where they differ, or the second is missing, the
inventory or a caller has decided (``celery_result_backend``, ``celery --result-backend``), and Celery's order holds.

A process may ask for its backend before anything has loaded the runtime: Celery reads the environment first, then makes
the loader. So the loader names :func:`make` as the backend of Redis, which chooses once more.

Nothing here may import what gevent or eventlet have to patch first.
"""

from __future__ import annotations

import ipaddress
import os
import threading
from collections.abc import Callable
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from celery.app.utils import Settings

from .couplings import RESULT_STORE
from .names import CACHE_VARIABLE, PLATFORM_RESULTS_VARIABLE
from .upstream import replace

if TYPE_CHECKING:
    from celery import Celery

REDIS_SCHEMES = ("redis", "rediss", "redis+socket")
MEMORY = ("cache+memory", "memory")  # schemes and names: no other process sees such a result
_CONTAINERS = ("host.docker.internal", "localhost.localdomain")


def install() -> None:
    """Let an application's own store take part in the choice. Idempotent."""
    if RESULT_STORE.fits():
        replace(Settings, "result_backend", _Choice)


class _Choice(property):
    """The setting ``result_backend``; a plain property cannot remember what it replaces.

    Args:
        usual: the property as Celery has it.
    """

    def __init__(self, usual: property) -> None:
        @wraps(cast(Callable[..., Any], usual.fget))
        def choose(conf: Settings) -> Any:
            chosen = usual.__get__(conf)
            if not undecided() or chosen != os.environ[PLATFORM_RESULTS_VARIABLE]:
                return chosen
            theirs = own(conf)
            return chosen if is_replaced(theirs) else theirs

        super().__init__(choose)


def make(app: Celery, url: str) -> Any:
    """Return the backend for an address of Redis, or the application's own where the address is only the default.

    Args:
        app: the application.
        url: the address.
    """
    from celery.app import backends
    from celery.backends.redis import RedisBackend

    if undecided() and url == os.environ[PLATFORM_RESULTS_VARIABLE]:
        theirs = own(app.conf)
        # An application that reads the environment itself names the platform's store, which this function makes.
        if theirs != url and not is_replaced(theirs):
            kind, url = backends.by_url(theirs, app.loader)
            return kind(app=app, url=url)
    return RedisBackend(app=app, url=url)


def undecided() -> bool:
    """Return whether neither the inventory nor a caller has decided which store is used."""
    ours = os.environ.get(PLATFORM_RESULTS_VARIABLE)
    return bool(ours) and os.environ.get("CELERY_RESULT_BACKEND") == ours


def own(conf: Settings) -> Any:
    """Return the store that the application names itself, None where it names none."""
    return conf.first("result_backend", "CELERY_RESULT_BACKEND")


def is_replaced(store: Any) -> bool:
    """Return whether the platform's store takes the place of one that the application names.

    Args:
        store: a name, an address, a class, or nothing.
    """
    if not store:
        return True
    if not isinstance(store, str):
        return False
    if is_platforms(store):  # perhaps with options of the application's
        return False
    scheme, _, rest = store.partition("://")
    if scheme in MEMORY:
        return True
    if scheme == "db+sqlite":  # three slashes: a path below the release, which nobody may write to
        return not rest.startswith("//")
    if scheme not in REDIS_SCHEMES:
        return False
    return scheme == "redis+socket" or in_cache(store) or is_local(urlsplit(store).hostname or "")


def is_platforms(store: str) -> bool:
    """Return whether an address is that of the platform's store, whatever options the application adds to it.

    Args:
        store: an address, such as ``redis://…/1?decode_responses=true``.
    """
    ours = os.environ.get(PLATFORM_RESULTS_VARIABLE, "")
    return bool(ours) and store.partition("?")[0] == ours.partition("?")[0]


def in_cache(store: Any) -> bool:
    """Return whether a store is the platform's cache, which drops what it holds when its memory is full.

    Args:
        store: a name, an address, a class, or nothing.
    """
    cache = urlsplit(os.environ.get(CACHE_VARIABLE, ""))
    if not cache.hostname or not isinstance(store, str):
        return False
    address = urlsplit(store)
    return address.scheme in REDIS_SCHEMES and (address.hostname, address.port) == (cache.hostname, cache.port)


def is_local(host: str) -> bool:
    """Return whether a host's name is that of this machine, or of a container, which has no dot."""
    try:
        return ipaddress.ip_address(host).is_loopback or ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return "." not in host or host in _CONTAINERS


def prepare(app: Celery) -> None:
    """Set Django up where the store has a name, such as ``django-db``: it may be a model of the project.

    A worker does this when it imports its tasks; a command that asks for one result does not.
    """
    store = app.conf.result_backend
    if "://" not in str(store) and os.environ.get("DJANGO_SETTINGS_MODULE"):
        import django

        django.setup()


class _Replies(threading.local):
    """The stand-in of a thread for a store that keeps nothing: what a task returns is sent to its caller."""

    def __init__(self, app: Celery) -> None:
        self.app = app

    @cached_property
    def backend(self) -> Any:
        from celery.backends.rpc import RPCBackend

        return RPCBackend(self.app)


def for_canaries(app: Celery) -> Callable[[Any], Any]:
    """Return the function that gives a canary its result store: the application's, or replies where that keeps nothing.

    Args:
        app: the application.
    """
    replies = _Replies(app)

    def store(_: Any) -> Any:
        return replies.backend if keeps_nothing(app) else app.backend

    return store


def keeps_nothing(app: Celery) -> bool:
    """Return whether the application has switched its result store off."""
    from celery.backends.base import DisabledBackend

    return isinstance(app.backend, DisabledBackend)
