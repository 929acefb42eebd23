"""The platform's description of itself, ``platform.json``, as the deployment wrote it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from celery.exceptions import ImproperlyConfigured

VARIABLE = "CELERY_PLATFORM"
BROKERS = ("rabbitmq", "redis")
REDIS_TRANSPORTS = ("atomic", "stock")
KINDS = ("worker", "beat", "web", "flower")


class PlatformError(ImproperlyConfigured):
    """The platform's file is missing, unreadable or wrong; the message says what to do."""


@dataclass(frozen=True)
class Program:
    """One program that supervisor keeps on this host.

    ``url`` is the page that shows whether a web side serves: an answer with a status of 200 to below ``below`` does.
    The request's ``Host`` is ``host``, or the URL's own where that is empty.
    """

    program: str
    kind: Literal["worker", "beat", "web", "flower"]
    node: str = ""
    queues: tuple[str, ...] = ()
    url: str = ""
    host: str = ""
    below: int = 400


@dataclass(frozen=True)
class Platform:
    """What the deployment decided: broker, queues, default settings, and the programs of this host.

    Times are in seconds. ``max_time_limit_s`` is what a task may take at most before a stop of its worker kills it;
    None when the deployment gives no such limit. ``lone_worker``: the platform has one worker in all.
    A task that ran ``crash_limit`` times when its worker died is parked.
    ``message_signing``: workers are to take signed messages alone.
    ``drained``: this host's workers were stopped on purpose.
    ``redis_transport`` is who takes messages from Redis, our transport (``atomic``) or kombu's (``stock``).
    """

    app: str
    broker: Literal["rabbitmq", "redis"]
    queues: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    queue_arguments: Mapping[str, Any] = field(default_factory=dict)
    programs: tuple[Program, ...] = ()
    beat_max_age_s: float = 60.0
    max_time_limit_s: float | None = None
    queue_depth_warning: int = 1000
    parking_queues: tuple[str, ...] = ("celery.dead", "celery.unroutable")
    lone_worker: bool = False
    crash_limit: int = 5
    redis_transport: Literal["atomic", "stock"] = "atomic"
    message_signing: bool = False
    drained: bool = False

    @property
    def exchange_type(self) -> str:
        """RabbitMQ's native delay works on topic exchanges only; Redis is simplest with direct ones."""
        return "topic" if self.broker == "rabbitmq" else "direct"

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any], source: str) -> Self:
        """Check the parsed file and make a Platform of it.

        Args:
            data: the parsed JSON object; keys that this version does not know are ignored.
            source: where it came from, for messages.

        Raises:
            PlatformError: a key is missing or its value is not allowed.
        """
        broker, queues, programs = data.get("broker"), data.get("queues"), data.get("programs", [])
        if broker not in BROKERS:
            raise PlatformError(f"{source}: broker is {broker!r}; allowed are {', '.join(BROKERS)}.")
        if not isinstance(queues, list) or not queues or not all(isinstance(name, str) and name for name in queues):
            raise PlatformError(f"{source}: queues is {queues!r}; it has to be a list of at least one queue name.")
        transport = data.get("redis_transport", cls.redis_transport)
        if transport not in REDIS_TRANSPORTS:
            allowed = ", ".join(REDIS_TRANSPORTS)
            raise PlatformError(f"{source}: redis_transport is {transport!r}; allowed are {allowed}.")
        try:
            known = [
                Program(
                    program=entry["program"],
                    kind=entry["kind"],
                    node=entry.get("node", ""),
                    queues=tuple(entry.get("queues", ())),
                    url=entry.get("url", ""),
                    host=entry.get("host", ""),
                    below=entry.get("below", Program.below),
                )
                for entry in programs
            ]
        except (KeyError, TypeError, AttributeError) as error:
            raise PlatformError(f"{source}: each of programs needs program and kind ({error!r}).") from error
        for program in known:
            if program.kind not in KINDS:
                raise PlatformError(
                    f"{source}: program {program.program} is of kind {program.kind!r}; allowed are {', '.join(KINDS)}."
                )
        return cls(
            app=str(data.get("app", "")),
            broker=broker,
            queues=tuple(queues),
            settings=dict(data.get("settings") or {}),
            queue_arguments=dict(data.get("queue_arguments") or {}),
            programs=tuple(known),
            beat_max_age_s=float(data.get("beat_max_age_s", cls.beat_max_age_s)),
            max_time_limit_s=data.get("max_time_limit_s"),
            queue_depth_warning=int(data.get("queue_depth_warning", cls.queue_depth_warning)),
            parking_queues=tuple(data.get("parking_queues", cls.parking_queues)),
            lone_worker=bool(data.get("lone_worker", cls.lone_worker)),
            crash_limit=int(data.get("crash_limit", cls.crash_limit)),
            redis_transport=transport,
            message_signing=bool(data.get("message_signing", cls.message_signing)),
            drained=bool(data.get("drained", cls.drained)),
        )

    @classmethod
    def load(cls, path: str | None = None) -> Self:
        """Read the file that ``CELERY_PLATFORM`` names.

        Args:
            path: read this file instead.

        Raises:
            PlatformError: the variable is not set, or the file cannot be read or understood.
        """
        path = path or os.environ.get(VARIABLE)
        if not path:
            raise PlatformError(
                f"{VARIABLE} is not set, so celery_on_hosts does not know its broker and queues. On a deployed host "
                "use the commands celery and celery-python, which load /etc/celery/environment; elsewhere point "
                f"{VARIABLE} at a platform.json, or unset CELERY_LOADER to run without the platform."
            )
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise PlatformError(
                f"{VARIABLE}={path} cannot be read ({error.strerror}). Deploy again to write it, or correct "
                f"{VARIABLE} in /etc/celery/environment."
            ) from error
        except ValueError as error:
            raise PlatformError(f"{VARIABLE}={path} is not JSON ({error}). Deploy again to write it.") from error
        if not isinstance(data, dict):
            raise PlatformError(f"{VARIABLE}={path} holds no JSON object. Deploy again to write it.")
        return cls.from_mapping(data, f"{VARIABLE}={path}")
