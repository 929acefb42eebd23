# SPDX-License-Identifier: MIT
"""Check variables that stand for themselves: switches, numbers, ports, choices, names."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.services import TAKEN_OVER
from ansible_collections.celery_on_hosts.platform.runtime.celery_on_hosts.web.application import WebAppError, parse

from .problem import Problem, suggest

Variables = Mapping[str, Any]


def is_whole(value: Any) -> TypeGuard[int]:
    """Tell whether a value is a whole number of at least 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def is_port(value: Any) -> bool:
    """Tell whether a value is a port."""
    return is_whole(value) and value < 65536


def is_text(value: Any) -> TypeGuard[str]:
    """Tell whether a value is a text with more than spaces in it."""
    return isinstance(value, str) and bool(value.strip())


def matches(pattern: str) -> Callable[[Any], bool]:
    """Return a test whether a value is a text that a regular expression describes from its begin to its end."""
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def list_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Return a test whether a value is a list of such items, which may be empty."""
    return lambda value: isinstance(value, list) and all(fits(item) for item in value)


def is_web_app(value: Any) -> bool:
    """Tell whether a value is what gunicorn takes."""
    if not matches(rf"{DOTTED}:[A-Za-z_][\w.]*(\(.*\))?")(value):
        return False
    try:
        parse(value)
    except WebAppError:
        return False
    return True


def is_command(value: Any) -> bool:
    """Tell whether a value is empty, or a command in one line."""
    if not isinstance(value, str) or len(value.splitlines()) > 1:
        return False
    try:
        return value == "" or shlex.split(value) != []
    except ValueError:  # a quote that is not closed
        return False


@dataclass(frozen=True)
class Kind:
    """What a variable may be.

    Args:
        allowed: in words.
        fits: whether a value is of this kind.
        advise: returns what to do about a value that is not, by the variable's name and value.
    """

    allowed: str
    fits: Callable[[Any], bool]
    advise: Callable[[str, Any], str] = lambda name, value: ""

    def refuse(self, name: str, value: Any) -> Iterator[Problem]:
        """Yield a problem where the variable's value is not of this kind."""
        if not self.fits(value):
            yield Problem(name, repr(value), self.allowed, self.advise(name, value))


def choice(names: Sequence[str], separator: str = ", ") -> Kind:
    """Return the kind of variable that is one of some names."""
    return Kind(separator.join(names), lambda value: value in names, lambda _, value: suggest(str(value), names))


DOTTED = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*"
SERIAL_STEP = r"[1-9]\d?%|100%"
WEB_HOST = r"|([A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?"

SWITCH = Kind(
    "true or false, without quotes",
    lambda value: isinstance(value, bool),
    lambda name, value: f"On the command line: -e '{{\"{name}\": false}}'" if isinstance(value, str) else "",
)
WHOLE = Kind("a whole number of at least 1, without quotes", is_whole)
PORT = Kind("a port, 1 to 65535, without quotes", is_port)
SECRETS = ("_password", "_secret_key", "_signing_key")

KINDS: dict[str, Kind] = {
    "celery_beat_enabled": SWITCH,
    "celery_cache_enabled": SWITCH,
    "celery_database_enabled": SWITCH,
    "celery_flower_enabled": SWITCH,
    "celery_handover": SWITCH,
    "celery_message_signing": SWITCH,
    "celery_release_again": SWITCH,
    "celery_unlock": SWITCH,
    "celery_web_enabled": SWITCH,
    "celery_web_preload": SWITCH,
    "celery_delivery_limit": WHOLE,
    "celery_health_timeout": WHOLE,
    "celery_keep_releases": WHOLE,
    "celery_prefetch_multiplier": WHOLE,
    "celery_rabbitmq_consumer_timeout": WHOLE,
    "celery_redis_visibility_timeout": WHOLE,
    "celery_soft_time_limit": WHOLE,
    "celery_stop_wait": WHOLE,
    "celery_time_limit": WHOLE,
    "celery_web_workers": WHOLE,
    "celery_cache_memory": Kind("a size, such as 256mb", matches(r"[1-9]\d*(mb|gb)")),
    "celery_broker": choice(("rabbitmq", "redis"), " or "),
    "celery_redis_transport": choice(("atomic", "stock"), " or "),
    "celery_packages": Kind(
        "a list of names of Debian packages, such as [libmagic1, ffmpeg]",
        list_of(matches(r"[a-z0-9][a-z0-9+.-]+")),
        lambda _, value: (
            "Leave out versions: apt installs what the host's Debian release has." if "=" in str(value) else ""
        ),
    ),
    "celery_apt_proxy": Kind(
        "the URL of a proxy, such as http://proxy.example.org:3128",
        matches(r"|https?://[^\s\"/?#;\\]+/?"),
        lambda *_: "A password's special characters are percent-encoded.",
    ),
    "celery_operators": Kind("a list of users' login names", list_of(matches(r"[a-z_][a-z0-9_-]{0,31}"))),
    "celery_take_over": Kind(
        f"a list of services of others that may be replaced: {', '.join(TAKEN_OVER)}",
        list_of(lambda name: name in TAKEN_OVER),
        lambda *_: "Leave out the others: they are used as they are, or are refused with what to do.",
    ),
    "celery_serial": Kind(
        "a list of numbers of hosts or shares of all, such as [1, 50%]",
        lambda value: value != [] and list_of(lambda step: is_whole(step) or matches(SERIAL_STEP)(step))(value),
    ),
}
WEB_KINDS: dict[str, Kind] = {
    "celery_web_app": Kind(
        "module:callable, such as proj.wsgi:application, or a call with literals: shop:create_app('production')",
        is_web_app,
        lambda *_: "Correct it, or leave the group web out if the application has no web side.",
    ),
    "celery_web_command": Kind(
        "a command in one line, such as daphne -b $CELERY_WEB_ADDRESS -p $CELERY_WEB_PORT proj.asgi:application",
        is_command,
    ),
    "celery_web_host": Kind(
        "a name or address, with :PORT where that is not 80, such as tasks.example.org",
        matches(WEB_HOST),
        lambda _, value: "Leave out the scheme and the page." if "/" in str(value) else "",
    ),
    "celery_web_health_path": Kind(
        "a page that begins with /, such as /health/",
        lambda value: matches(r"/[!-~]*")(value) and "#" not in value,
        lambda _, value: (
            "Leave out the scheme and the host; celery_web_host is the host." if "://" in str(value) else ""
        ),
    ),
}


def check_values(variables: Variables) -> Iterator[Problem]:
    """Check the variables that stand for themselves."""
    kinds = KINDS | (WEB_KINDS if variables.get("celery_web_enabled") is True else {})
    for name, value in variables.items():
        kind = PORT if name.endswith("_port") else kinds.get(name)
        if kind and not (name == "celery_web_app" and variables.get("celery_web_command")):
            yield from kind.refuse(name, value)
        if name.endswith(SECRETS) and not is_text(value):
            advice = f"Remove {name}, and one is generated; or set {name} from a vault."
            found = "nothing" if value is None or isinstance(value, str) else f"a value of type {type(value).__name__}"
            if found != "nothing":
                advice = f"Write {name} in quotes."
            yield Problem(name, found, "a text that is not empty", advice)
    command = variables.get("celery_web_command") if variables.get("celery_web_enabled") else ""
    if command and is_command(command) and variables.get("celery_handover"):
        yield Problem(
            "celery_web_command",
            "a command of yours: it is restarted by a release, and requests fail until the new process listens",
            "celery_web_app, which is handed over without a failed request",
            "Set celery_web_app, which serves WSGI and ASGI, unless the application needs this server.",
            "warning",
        )
    if variables.get("celery_redis_transport") == "stock" and variables.get("celery_broker") == "redis":
        yield Problem(
            "celery_redis_transport",
            "stock: a worker that is killed while it claims a task loses that task, and its other tasks wait for "
            "celery_redis_visibility_timeout; a task that kills its worker each time is delivered again without end; "
            "a task that a worker does not know, such as a new task in the middle of a release, is dropped",
            "atomic, which loses no task",
            "Remove celery_redis_transport, unless tasks may be lost.",
            "warning",
        )
