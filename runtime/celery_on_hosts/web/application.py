"""Load a web application by its name, and say whether it is WSGI or ASGI."""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
import sys
from collections.abc import Callable
from typing import Any, Literal

Interface = Literal["wsgi", "asgi2", "asgi3"]
# What the servers pass: environ and start_response; scope, receive and send.
WSGI_ARGUMENTS, ASGI3_ARGUMENTS = 2, 3


class WebAppError(Exception):
    """What ``celery_web_app`` names cannot be served; the message says why."""


def load(name: str) -> Any:
    """Return the web application of a name, as gunicorn takes it.

    Args:
        name: ``MODULE:CALLABLE``, or a call with literals that returns the callable: ``shop:create_app('production')``.

    Raises:
        WebAppError: there is no such module, attribute or callable.
        Exception: whatever importing the module, or calling the factory, raises.
    """
    module_name, attribute, arguments, keywords = parse(name)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and f"{module_name}.".startswith(f"{error.name}."):
            raise WebAppError(f"there is no module {error.name}") from error
        raise
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            near = difflib.get_close_matches(part, dir(found), 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise WebAppError(f"the module {module_name} has no {attribute}{hint}")
        found = getattr(found, part)
    if arguments is not None:
        found = _call(found, attribute, arguments, keywords)
    if found is None:
        raise WebAppError(f"{attribute} is None, not a web application")
    if not callable(found):
        raise WebAppError(f"{attribute} is of type {type(found).__name__}, not a web application")
    return found


def parse(name: str) -> tuple[str, str, list[Any] | None, dict[str, Any]]:
    """Return the module and the attribute of a name, and the arguments of the call; None where it is no call.

    Raises:
        WebAppError: it is no such name.
    """
    module, _, expression = name.partition(":")
    expression = expression or "application"
    advice = "write MODULE:CALLABLE, or MODULE:FACTORY(…) with literal arguments"
    try:
        body = ast.parse(expression, mode="eval").body
        if isinstance(body, ast.Call):
            arguments = [ast.literal_eval(argument) for argument in body.args]
            keywords = {str(one.arg): ast.literal_eval(one.value) for one in body.keywords if one.arg}
            return module, ast.unparse(body.func), arguments, keywords
    except SyntaxError as error:
        raise WebAppError(f"{name} is not Python ({error.msg}): {advice}") from error
    except ValueError as error:
        raise WebAppError(f"{name} has an argument that is no literal: {advice}") from error
    if not isinstance(body, ast.Name | ast.Attribute):
        raise WebAppError(f"{name} names no attribute: {advice}")
    return module, ast.unparse(body), None, {}


def _call(factory: Any, name: str, arguments: list[Any], keywords: dict[str, Any]) -> Any:
    """Call a factory, and say so where it takes other arguments."""
    if not callable(factory):
        raise WebAppError(f"{name} is of type {type(factory).__name__}, and cannot be called")
    try:
        inspect.signature(factory).bind(*arguments, **keywords)
    except TypeError as error:
        raise WebAppError(f"{name} is called with other arguments than it takes: {error}") from error
    except ValueError:
        pass  # its signature is not known
    return factory(*arguments, **keywords)


def interface(application: Any, name: str = "") -> Interface:
    """Return which interface an application has.

    Args:
        application: what ``load`` returned.
        name: how it was named, for messages.

    Raises:
        WebAppError: it can be called neither as WSGI nor as ASGI.
    """
    if inspect.isclass(application):
        return "asgi2" if _takes(application, 1) and not _takes(application, WSGI_ARGUMENTS) else "wsgi"
    call: Callable[..., Any] = application if inspect.isroutine(application) else application.__call__
    if inspect.iscoroutinefunction(call) and _takes(call, ASGI3_ARGUMENTS):
        return "asgi3"
    if _takes(call, WSGI_ARGUMENTS):
        return "wsgi"
    if _takes(call, ASGI3_ARGUMENTS):
        return "asgi3"
    shown = name or getattr(application, "__name__", repr(application))
    if _takes(call, 0):
        raise WebAppError(f"{shown} is a function that takes no arguments: to name the factory's result, add ()")
    if _takes(call, 1) and not inspect.isroutine(application):
        return "asgi2"
    raise WebAppError(
        f"{shown} takes {inspect.signature(call)}: neither what WSGI passes (environ, start_response) nor ASGI "
        "(scope, receive, send)"
    )


def _takes(call: Callable[..., Any], count: int) -> bool:
    """Return whether something can be called with so many positional arguments; True where nothing says so."""
    try:
        inspect.signature(call).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:
        return True
    return True


def add_working_folder() -> None:
    """Find modules in the working folder, the release's, as gunicorn does."""
    if sys.path[0] not in ("", "."):
        sys.path.insert(0, "")
