"""Which web applications there are, how they are named, and what is wrong with a name."""

from __future__ import annotations

import sys

import pytest

from celery_on_hosts.web.application import WebAppError, interface, load

SHOP = """
import functools

class Wsgi:
    def __call__(self, environ, start_response): ...

class Asgi:
    async def __call__(self, scope, receive, send): ...

class Old:
    def __init__(self, scope): ...
    async def __call__(self, receive, send): ...

class Wrapped:  # a class without annotations that passes the call on
    def __init__(self, app):
        self.__call__ = self.run_asgi
    async def run_asgi(self, scope, receive, send): ...

class WrappedTwice:
    __slots__ = ("__call__",)
    def __init__(self):
        self.__call__ = self.run
    async def run(self, scope, receive, send): ...

def application(environ, start_response): ...
async def asgi(scope, receive, send): ...
def decorated(scope, receive, send): ...
def anything(*arguments): ...
def create_app(mode="debug", *, echo=False):
    if mode == "broken":
        raise RuntimeError("no such mode")
    return Asgi() if mode == "asgi" else Wsgi()
def create_plain():
    return Wsgi()
wsgi, fast, twice, partial = Wsgi(), Asgi(), WrappedTwice(), functools.partial(application)
settings, nothing = {}, None

class site:
    app = Wsgi()
"""


@pytest.fixture
def shop(app_dir, monkeypatch):
    """Make the module importable."""
    monkeypatch.syspath_prepend(app_dir(shop=SHOP, needs="import nothing_like_it\n"))
    yield
    for name in ("shop", "needs"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("shop", "wsgi"),
        ("shop:application", "wsgi"),
        ("shop:wsgi", "wsgi"),
        ("shop:partial", "wsgi"),
        ("shop:anything", "wsgi"),
        ("shop:site.app", "wsgi"),
        ("shop:create_app()", "wsgi"),
        ("shop:create_app('production', echo=True)", "wsgi"),
        ("shop:create_app('asgi')", "asgi3"),
        ("shop:fast", "asgi3"),
        ("shop:asgi", "asgi3"),
        ("shop:decorated", "asgi3"),
        ("shop:twice", "asgi3"),
        ("shop:Old", "asgi2"),
    ],
)
def test_the_interface_of_what_a_name_gives(shop, name, expected):
    assert interface(load(name), name) == expected


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("shopp:application", "there is no module shopp"),
        ("shop.wsgi:application", "there is no module shop.wsgi"),
        ("shop:aplication", "the module shop has no aplication; did you mean application?"),
        ("shop:site.application", "the module shop has no site.application"),
        ("shop:settings", "settings is of type dict, not a web application"),
        ("shop:nothing", "nothing is None"),
        ("shop:create_plain", "shop:create_plain is a function that takes no arguments: to name the factory's result"),
        ("shop:create_app('a', 'b')", "called with other arguments than it takes: too many positional arguments"),
        ("shop:create_app(mode)", "an argument that is no literal: write MODULE:CALLABLE, or MODULE:FACTORY"),
        ("shop:create_app(", "is not Python"),
        ("shop:wsgi[0]", "names no attribute"),
    ],
)
def test_what_is_wrong_with_a_name_is_said(shop, name, words):
    with pytest.raises(WebAppError) as error:
        interface(load(name), name)
    assert words in str(error.value)


def test_what_the_application_raises_is_its_own(shop):
    with pytest.raises(RuntimeError, match="no such mode"):
        load("shop:create_app('broken')")
    with pytest.raises(ModuleNotFoundError, match="nothing_like_it"):
        load("needs:app")
