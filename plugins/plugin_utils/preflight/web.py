# SPDX-License-Identifier: MIT
"""Check the front door (names, locations, static files, trusted proxies), and what the application writes."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..web import is_address
from .problem import Problem, suggest
from .values import WHOLE, Kind, Variables, is_text, list_of, matches

NAME = r"[A-Za-z0-9_*]([A-Za-z0-9_.-]*[A-Za-z0-9_])?|\*?\.[A-Za-z0-9_.-]+"
LOCATION_KEYS = ("path", "config", "web")


def is_network(value: Any) -> bool:
    """Tell whether a value is an IP address or a network."""
    try:
        ipaddress.ip_network(value, strict=True)
    except ValueError:
        return False
    return isinstance(value, str)


PATH = r"[\w.@+-]+(/[\w.@+-]+)*/?"


def is_path(value: Any) -> bool:
    """Tell whether a value is a path inside of the application's folder."""
    return matches(PATH)(value) and not {".", ".."} & set(value.split("/"))


KINDS = {
    "celery_app_state": Kind(
        "a list of paths inside of the application's folder, such as [media/, db.sqlite3]",
        list_of(is_path),
        lambda *_: "Leave out a / at the begin, and ..; a folder ends with a /.",
    ),
    "celery_web_static_commands": Kind("a list of commands, each a text", list_of(is_text)),
    "celery_web_body_size": Kind(
        "a size such as 10m, 1g or 0 for any", lambda value: matches(r"\d+[kKmMgG]?")(str(value))
    ),
    "celery_web_timeout": WHOLE,
    "celery_web_names": Kind(
        "a list of names without ports, such as [www.example.org]",
        list_of(matches(NAME)),
        lambda _, value: "Leave out the scheme, the port and the page." if re.search("[/:]", str(value)) else "",
    ),
    "celery_trusted_proxies": Kind(
        "a list of addresses or networks, such as [192.0.2.7, 10.0.0.0/8]",
        list_of(is_network),
        lambda *_: "Write addresses, not names; a network has no bits set beyond its prefix.",
    ),
}


def check_web(variables: Variables) -> Iterator[Problem]:
    """Check the variables of the front door."""
    for name, kind in KINDS.items():
        if name in variables:
            yield from kind.refuse(name, variables[name])
    if variables.get("celery_web_enabled"):
        yield from _check_static(variables)
    yield from _check_state(variables)
    locations = variables.get("celery_web_locations", [])
    if not isinstance(locations, list) or not all(isinstance(one, Mapping) for one in locations):
        yield Problem("celery_web_locations", repr(locations), "a list of entries with path and config")
        return
    paths = [one.get("path") for one in locations]
    for one in locations:
        yield from _check_location(one, paths.count(one.get("path")) > 1)


def _check_location(one: Mapping[str, Any], twice: bool) -> Iterator[Problem]:
    """Check an entry of celery_web_locations."""
    path, config = one.get("path"), one.get("config", "")
    where = f"celery_web_locations: {path}"
    for key in one:
        if key not in LOCATION_KEYS:
            yield Problem(where, str(key), ", ".join(LOCATION_KEYS), suggest(str(key), LOCATION_KEYS, f"Remove {key}."))
    if not matches(r"((=|~|~\*|\^~) +)?[^\s{};]+")(path) or not is_text(path):
        yield Problem(where, repr(path), "what follows `location` in nginx, such as /upload/ or = /robots.txt")
    elif twice or path in ("/flower/", "= /flower/metrics"):
        yield Problem(where, "a path that is there twice", "each path once; /flower/ is Flower's")
    if not isinstance(config, str) or config.count("{") != config.count("}"):
        yield Problem(where, repr(config), "directives of nginx as a text, with as many { as }")
    elif config.strip() and not config.rstrip().endswith((";", "}")):
        yield Problem(where, repr(config), "directives of nginx, each with a ; at its end")
    if not isinstance(one.get("web", True), bool):
        yield Problem(where, repr(one["web"]), "web: true or false, without quotes")
    elif one.get("web") is False and not (isinstance(config, str) and config.strip()):
        yield Problem(where, "web: false and no config", "directives that say what is there, such as return 404;")


def _check_state(variables: Variables) -> Iterator[Problem]:
    """Check that no path of celery_app_state lies inside of another."""
    paths = variables.get("celery_app_state", [])
    names = [path.strip("/") for path in paths if isinstance(path, str)] if isinstance(paths, list) else []
    for name in names:
        inside = [other for other in names if name.startswith(f"{other}/")]
        if inside or names.count(name) > 1:
            found = f"{name}, and {(inside or [name])[0]} that holds it"
            yield Problem("celery_app_state", found, "each path once", f"Remove {name}.")


def _check_static(variables: Variables) -> Iterator[Problem]:
    """Check the folders that nginx serves, and those that commands alone fill."""
    entries, paths = variables.get("celery_web_static", []), variables.get("celery_app_state", [])
    if not isinstance(entries, list) or not all(isinstance(one, Mapping) for one in entries):
        yield Problem("celery_web_static", repr(entries), "a list of entries with url and folder")
        return
    paths = paths if isinstance(paths, list) else []
    urls = [one.get("url") for one in entries]
    for one in entries:
        url, folder = one.get("url"), one.get("folder")
        where = f"celery_web_static: {one.get('url', folder)}"
        if set(one) not in ({"url", "folder"}, {"folder"}):
            yield Problem(where, ", ".join(map(str, one)), "url and folder; folder alone where nginx serves nothing")
        elif "url" in one and not (_is_page(url) and urls.count(url) == 1):
            yield Problem(where, repr(url), "a page that begins and ends with /, such as /static/, each once")
        elif not is_path(folder):
            yield Problem(where, repr(folder), "a folder inside of the application's folder, such as staticfiles")
        else:
            yield from _check_overlap(where, folder, paths)
            if "url" not in one and _holds(paths, folder):
                yield Problem(where, "no url, and celery_app_state has the folder", "one of them", "Remove the entry.")
    if variables.get("celery_web_static_commands") and not entries:
        yield Problem(
            "celery_web_static_commands",
            "commands, and no folder in celery_web_static",
            "the folders that the commands fill",
            "Add the folder to celery_web_static: a release cannot be written elsewhere.",
        )


def _is_page(url: Any) -> bool:
    """Tell whether nginx can serve a folder there."""
    return matches(r"/([\w.~-]+/)+")(url) and not url.startswith("/flower/")


def _holds(paths: list[Any], folder: str) -> bool:
    """Tell whether releases share a folder."""
    return any(f"{folder.strip('/')}/".startswith(f"{str(path).strip('/')}/") for path in paths)


def _check_overlap(where: str, folder: str, paths: list[Any]) -> Iterator[Problem]:
    """Check that a folder of the release holds no path that releases share."""
    for path in paths:
        if str(path).startswith(f"{folder.strip('/')}/") and str(path).strip("/") != folder.strip("/"):
            advice = f"Move one of them, or list {folder} in celery_app_state."
            yield Problem(where, f"{folder}, which holds {path} of celery_app_state", "folders apart", advice)


def check_places(groups: Mapping[str, Sequence[str]], variables: Variables) -> Iterator[Problem]:
    """Check that nginx finds the files, and say that hosts do not share them.

    Args:
        groups: hosts by group.
        variables: a host's variables.
    """
    apart = sorted(set(groups.get("proxy", ())) - set(groups.get("web", ())))
    served = [one for one in variables.get("celery_web_static", []) if isinstance(one, Mapping) and "url" in one]
    if served and variables.get("celery_web_enabled") and apart:
        yield Problem(
            "celery_web_static",
            f"nginx on {', '.join(apart)}, which have no release",
            "nginx on hosts of the group web",
            "List the hosts of the group proxy under web, too, or let the application serve its files (WhiteNoise).",
        )
    hosts = sorted({host for group in ("workers", "beat", "web") for host in groups.get(group, ())})
    if variables.get("celery_app_state") and len(hosts) > 1:
        yield Problem(
            "celery_app_state",
            f"{len(hosts)} hosts ({', '.join(hosts)}): each has files of its own",
            "one host, or paths that each host may have for itself, such as logs",
            "Mount a shared folder at /var/lib/celery/data, or keep uploads in an object store and rows in PostgreSQL.",
            "warning",
        )


def check_origins(groups: Mapping[str, Sequence[str]], hosts: Mapping[str, Any]) -> Iterator[Problem]:
    """Check that web sides of other hosts know nginx by its address.

    Args:
        groups: hosts by group.
        hosts: what is known of each host, with its variables in ``vars``.
    """
    for proxy in groups.get("proxy", ()):
        variables = hosts.get(proxy, {}).get("vars", {})
        address = variables.get("celery_address")
        others = sorted(set(groups.get("web", ())) - {proxy})
        if address and others and not is_address(str(address)) and not variables.get("celery_web_command"):
            yield Problem(
                "celery_address",
                f"the name {address} for {proxy}, whose nginx passes requests on to {', '.join(others)}",
                "an IP address",
                "Write the address: the web side believes no name about who asked, and takes nginx for the client.",
                "warning",
            )
