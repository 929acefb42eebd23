# SPDX-License-Identifier: MIT
"""Say how the web side is served: its command, its names, and what nginx passes on to it.

Standard library only.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.module_utils.names import CELERY_ROOT
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.topology import place

LOOPBACK = "127.0.0.1"
PYTHON = "/usr/local/bin/celery-python"  # the release's, with the application's environment
DATA = "/var/lib/celery/data"  # what the application keeps over releases
STATIC = f"{CELERY_ROOT}/current/static"
LEAST_GRACE_S = 30  # for the requests that a process has when it is stopped


def supervisor_command(words: Iterable[str]) -> str:
    """Return the words of a command as supervisord reads them.

    supervisord expands %(NAME)s, takes a ; or # after a space for a comment, and splits what is left as a shell does.
    """
    quoted = " ".join(shlex.quote(word) for word in words).replace("%", "%%")
    return quoted.replace(" ;", " '';").replace(" #", " ''#")


def server_words(
    variables: Mapping[str, Any], addresses: Sequence[str], port: int, proxies: Iterable[str]
) -> list[str]:
    """Return the command that serves the web side.

    Args:
        variables: those that begin with ``celery_web_``.
        addresses: the addresses at which the web side listens. A command of the inventory's gets the first.
        port: the port.
        proxies: the addresses of the hosts whose nginx asks.
    """
    # At loopback the host's own nginx asks, elsewhere every nginx from its host's address.
    asking = [*(proxies if addresses[0] != LOOPBACK else ()), *addresses[1:]]
    believed = ",".join(dict.fromkeys(filter(is_address, asking))) or LOOPBACK
    if variables["celery_web_command"]:
        words = shlex.split(variables["celery_web_command"])
        # gunicorn and uvicorn read the variable: https://gunicorn.org/reference/settings/#forwarded_allow_ips
        command = ["/usr/bin/env", f"FORWARDED_ALLOW_IPS={believed}", PYTHON, "-m", "celery_on_hosts.web.command"]
        return [*command, addresses[0], str(port), *words]
    return [
        *(PYTHON, "-m", "gunicorn", variables["celery_web_app"]),
        *("--config", "python:celery_on_hosts.gunicorn_conf", "--reuse-port"),
        *(word for address in addresses for word in ("--bind", place(address, port))),
        *("--workers", str(variables["celery_web_workers"]), "--threads", str(variables["celery_web_threads"])),
        *(["--preload"] if variables["celery_web_preload"] else []),
        f"--forwarded-allow-ips={believed}",
        f"--graceful-timeout={grace(variables)}",
    ]


def grace(variables: Mapping[str, Any]) -> int:
    """Return the seconds in which a process that is stopped answers its requests: as long as nginx waits for one."""
    return max(LEAST_GRACE_S, int(variables["celery_web_timeout"]))


def public_names(variables: Mapping[str, Any]) -> list[str]:
    """Return the names of the web side, the first of which health asks with; empty for any name."""
    return list(dict.fromkeys(filter(None, (variables["celery_web_host"], *variables["celery_web_names"]))))


def server_names(variables: Mapping[str, Any]) -> list[str]:
    """Return the names that nginx serves the application under, without ports; empty for any name."""
    if not variables["celery_web_names"]:
        return []
    return list(dict.fromkeys(re.sub(r":\d+$", "", name) for name in public_names(variables)))


@dataclass(frozen=True)
class Upstream:
    """The servers that answer for a path of the front door.

    Args:
        name: nginx's name of them.
        servers: ADDRESS:PORT by host; nginx asks them in turn.
        spares: whether nginx asks the first server alone, as long as it answers.
    """

    name: str
    servers: Mapping[str, str]
    spares: bool = False

    @property
    def backend(self) -> str:
        """The address for a location; empty where there is no server."""
        one = f"${self.name}" if len(self.servers) > 1 else next(iter(self.servers.values()), "")
        return f"http://{one}" if one else ""

    def as_dict(self) -> dict[str, Any]:
        """Return the upstream as the role ``nginx`` takes it."""
        return {"name": self.name, "servers": list(self.servers.values()), "spares": self.spares}

    def checks(self, name: str, path: str, host: str, below: int) -> list[dict[str, Any]]:
        """Return what the proof asks the front door: any server, and each of several.

        Args:
            name: what is asked, as messages say it.
            path: the page.
            host: the request's ``Host``.
            below: the answer's status has to be lower.
        """
        several = self.servers if len(self.servers) > 1 else {}
        each = {f"{name} on {one}": str(number) for number, one in enumerate(several, start=1)}
        asked = {name: "", **each} if self.servers else {}
        page = {"path": path, "host": host, "below": below}
        return [{"name": one, "server": server, **page} for one, server in asked.items()]


def locations(variables: Mapping[str, Any], web: str, flower: str) -> list[dict[str, Any]]:
    """Return the pages of the front door, as the role ``nginx`` takes them.

    Args:
        variables: those that begin with ``celery_web_``.
        web: the address of the web side; empty where none runs.
        flower: the address of Flower; empty where it does not run.
    """
    found: list[dict[str, Any]] = [
        {"path": url, "lines": [f"alias {place};", "add_header X-Content-Type-Options nosniff;"], "application": True}
        for url, place in Folders.of(variables).places.items()
    ]
    for one in variables["celery_web_locations"]:
        backend = {"backend": web} if web and one.get("web", True) else {}
        found.append({"path": one["path"], "lines": one.get("config", "").splitlines(), "application": True, **backend})
    if web and "/" not in [one["path"] for one in found]:
        found.append({"path": "/", "backend": web, "application": True})
    if flower:
        # Flower answers /metrics without asking for a password.
        found.append({"path": "= /flower/metrics", "lines": ["return 404;"]})
        found.append({"path": "/flower/", "backend": flower})
    return found


def is_address(text: str) -> bool:
    """Return whether a text is an IP address, rather than a name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class Folders:
    """What an application writes, and what nginx serves of its folder.

    Args:
        state: paths in the application's folder that all releases share; a folder ends with a slash.
        served: those folders of ``state`` that nginx reads.
        static: folders in the application's folder that belong to a release.
        places: where nginx finds the files of each address; an entry without one is not served.
    """

    state: tuple[str, ...]
    served: tuple[str, ...]
    static: tuple[str, ...]
    places: Mapping[str, str]

    @classmethod
    def of(cls, variables: Mapping[str, Any]) -> Folders:
        """Return the folders of an inventory.

        Args:
            variables: ``celery_app_state``, and ``celery_web_static`` where the platform has a web side.
        """
        state = tuple(variables["celery_app_state"])
        served, static, places = [], [], {}
        for one in variables["celery_web_static"] if variables["celery_web_enabled"] else ():
            folder = one["folder"].strip("/")
            holders = [path for path in state if f"{folder}/".startswith(f"{path.strip('/')}/")]
            served += holders
            static += [] if holders else [f"{folder}/"]
            if "url" in one:
                places[one["url"]] = f"{DATA if holders else STATIC}/{folder}/"
        return cls(state, tuple(dict.fromkeys(served)), tuple(dict.fromkeys(static)), places)
