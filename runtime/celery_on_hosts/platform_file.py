"""The schema of ``platform.json``, the file that tells the runtime what the deployment decided.

The controller writes the file, with ``Platform(…).to_json()``; each process of the application reads it, with
``Platform.load()``. Both import this module, so it needs nothing but the standard library of Python 3.11: the
controller has no Celery. A wrong value is refused on both sides, in the same words.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Self

from .names import ENVIRONMENT_FILE, PLATFORM_VARIABLE

BROKERS = ("rabbitmq", "redis")
REDIS_TRANSPORTS = ("atomic", "stock")
KINDS = ("worker", "beat", "web", "flower")


class PlatformError(Exception):
    """A ``platform.json`` that is missing, unreadable or wrong; the message says what to do."""


@dataclass(frozen=True)
class Program:
    """A program that supervisor keeps running on this host.

    Args:
        program: supervisor's name.
        kind: what the program is.
        node: Celery's name of a worker, ``celery@host``.
        queues: what a worker reads.
        url: the page that shows whether a web side serves: it answers with a status of 200 to ``below`` - 1.
            ``unix:/path/of/socket:/page`` asks over a socket.
        host: the request's ``Host``; the URL's own where empty.
        below: see ``url``.
        scheduler: the scheduler that beat is started with; empty: the one of the application's settings.

    Raises:
        PlatformError: a value is not allowed.
    """

    program: str
    kind: Literal["worker", "beat", "web", "flower"]
    node: str = ""
    queues: tuple[str, ...] = ()
    url: str = ""
    host: str = ""
    below: int = 400
    scheduler: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise PlatformError(f"program {self.program} is of kind {self.kind!r}; allowed are {', '.join(KINDS)}.")


@dataclass(frozen=True)
class Reader:
    """A worker that reads queues, on whichever hosts of the platform.

    Args:
        program: supervisor's name.
        queues: what it reads.
        stop_wait: seconds that its stop waits for its tasks, before it is killed with them.
        time_limit: seconds after which it kills a task that has no limit of its own; None: its pool kills none.
        own_limit: whether the time limit is the worker's own, not the platform's for all.
    """

    program: str
    queues: tuple[str, ...]
    stop_wait: float
    time_limit: float | None = None
    own_limit: bool = False


@dataclass(frozen=True)
class Platform:
    """What the deployment decided for a host: broker, queues, default settings, programs.

    Args:
        app: the application, as ``celery -A`` takes it.
        broker: the kind of broker.
        queues: each queue that a worker of the platform reads.
        settings: Celery's settings, below the application's own.
        queue_arguments: arguments that each queue is declared with.
        programs: what runs on this host.
        beat_max_age_s: after so many seconds without a tick beat is unhealthy.
        readers: the workers of all hosts.
        max_time_limit_s: the platform's time limit, for workers without one of their own; None: without end.
        lone_worker: the platform has one worker in all.
        redis_transport: who reads messages from Redis: our transport (``atomic``) or kombu's (``stock``).
        message_signing: workers are to accept signed messages only.
        drained: this host's workers were stopped on purpose.
        managed_broker: the deployment runs the broker. Otherwise RabbitMQ has no policies of the platform, so exchanges
            and queues are declared with arguments in their place.
        web_app: what the web side serves, as gunicorn takes it; empty where there is no web side.
        web_command: the command that serves the web side instead.
        state: paths in the application's folder that are links to what all releases share.
        static: folders in the application's folder that belong to the release, and that commands fill.
        commands: a digest of the release commands, and of those that make static files. No process reads it: a changed
            list is a changed setting, and new settings run the commands.

    Raises:
        PlatformError: a value is not allowed.
    """

    app: str
    broker: Literal["rabbitmq", "redis"]
    queues: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    queue_arguments: Mapping[str, Any] = field(default_factory=dict)
    programs: tuple[Program, ...] = ()
    readers: tuple[Reader, ...] = ()
    beat_max_age_s: float = 60.0
    max_time_limit_s: float | None = None
    lone_worker: bool = False
    redis_transport: Literal["atomic", "stock"] = "atomic"
    message_signing: bool = False
    drained: bool = False
    managed_broker: bool = True
    web_app: str = ""
    web_command: str = ""
    state: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    commands: str = ""

    def __post_init__(self) -> None:
        if self.broker not in BROKERS:
            raise PlatformError(f"broker is {self.broker!r}; allowed are {', '.join(BROKERS)}.")
        names = self.queues if isinstance(self.queues, tuple) else ()
        if not names or not all(isinstance(name, str) and name for name in names):
            raise PlatformError(f"queues is {self.queues!r}; it has to be a list of at least one queue name.")
        if self.redis_transport not in REDIS_TRANSPORTS:
            allowed = ", ".join(REDIS_TRANSPORTS)
            raise PlatformError(f"redis_transport is {self.redis_transport!r}; allowed are {allowed}.")

    @property
    def exchange_type(self) -> str:
        """The type of each queue's exchange: RabbitMQ's native delay needs topic; on Redis direct is simplest."""
        return "topic" if self.broker == "rabbitmq" else "direct"

    @property
    def longest_task_s(self) -> float | None:
        """The seconds after which the last worker kills a task; None where no limit is known."""
        limits = [reader.time_limit for reader in self.readers if reader.time_limit]
        return max([*limits, *([self.max_time_limit_s] if self.max_time_limit_s else [])], default=None)

    def to_json(self) -> str:
        """Return the text of ``platform.json``: the same for equal platforms, with each key in its own line."""
        return json.dumps(asdict(self), indent=4, sort_keys=True) + "\n"

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any], source: str) -> Self:
        """Make a platform of a parsed file.

        Args:
            data: the JSON object. Keys that this version does not know are ignored: a release that was rolled back
                to reads what a later deployment wrote.
            source: where the object came from, for messages.

        Raises:
            PlatformError: a key is missing or its value is not allowed.
        """
        known = {"app": "", "broker": None, "queues": (), **_known(cls, data)}
        try:
            known["programs"] = tuple(Program(**_known(Program, entry)) for entry in data.get("programs") or ())
            known["readers"] = tuple(Reader(**_known(Reader, entry)) for entry in data.get("readers") or ())
            return cls(**known)
        except PlatformError as error:
            raise PlatformError(f"{source}: {error}") from error
        except (TypeError, AttributeError) as error:
            raise PlatformError(
                f"{source}: each of programs needs program and kind, each of readers program, queues and stop_wait "
                f"({error!r})."
            ) from error

    @classmethod
    def load(cls, path: str | None = None) -> Self:
        """Read the file that ``CELERY_PLATFORM`` names.

        Args:
            path: read this file instead.

        Raises:
            PlatformError: the variable is not set, or the file cannot be read or understood.
        """
        path = path or os.environ.get(PLATFORM_VARIABLE)
        if not path:
            raise PlatformError(
                f"{PLATFORM_VARIABLE} is not set, so celery_on_hosts does not know its broker and queues. On a "
                f"deployed host use the commands celery and celery-python, which load {ENVIRONMENT_FILE}; elsewhere "
                f"point {PLATFORM_VARIABLE} at a platform.json, or unset CELERY_LOADER to run without the platform."
            )
        source = f"{PLATFORM_VARIABLE}={path}"
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise PlatformError(
                f"{source} cannot be read ({error.strerror}). Deploy again to write it, or correct "
                f"{PLATFORM_VARIABLE} in {ENVIRONMENT_FILE}."
            ) from error
        except ValueError as error:
            raise PlatformError(f"{source} is not JSON ({error}). Deploy again to write it.") from error
        if not isinstance(data, dict):
            raise PlatformError(f"{source} holds no JSON object. Deploy again to write it.")
        return cls.from_mapping(data, source)


def _known(kind: type, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a dataclass's fields, with JSON's lists as tuples."""
    names = {one.name for one in fields(kind)}
    return {name: _tuple(value) for name, value in data.items() if name in names}


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
