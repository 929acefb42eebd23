"""Revokes that outlast a worker: a restart, a release and a reboot forget none.

Celery keeps revoked tasks in the memory of each worker. A new process asks other workers for theirs (mingle), but not a
process of its own name, which is what it replaces. And it reads the file of ``--statedb`` before the process that it
replaces has written the file. A task that waits with a countdown in the broker would run although it was revoked.

Here each worker adds a revoke to a file of its own at once, before it answers the command, and each worker reads the
files of all workers of its host: when it starts, and again when it hears revokes itself. A worker on another host hears
the same revokes, and a worker on a new host gets them by Celery's mingle.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

from celery import bootsteps
from celery.utils.log import get_logger
from celery.worker import state

from . import names
from .couplings import REVOKES
from .files import write_atomically

# Commands after which a worker knows of more revokes. The last is mingle's, of a worker that starts elsewhere.
COMMANDS = ("revoke", "terminate", "revoke_by_stamped_headers", "hello")

logger = get_logger(__name__)


class Revokes:
    """The revokes of a host's workers.

    A file has a line for each revoke, in JSON: the id of a task, or ``[header, stamp]``. The oldest line comes first.

    Args:
        program: supervisor's name of the worker that writes.
        folder: where the files are.
    """

    def __init__(self, program: str, folder: Path) -> None:
        self.folder = folder
        self.path = folder / program
        self.kept: set[Any] = set()
        self._failed = False

    def read(self) -> None:
        """Learn the revokes of all files, and write them into our own, without those that are too many."""
        with self._may_fail("read"), self._locked():
            found: dict[Any, None] = {}
            for path in sorted(self.folder.iterdir(), key=lambda path: path.stat().st_mtime):
                if not path.name.startswith("."):
                    found |= dict.fromkeys(_parse(path.read_text(encoding="utf-8")))
            limit = state.revoked.maxlen
            newest = list(found)[-limit:] if limit else list(found)
            ids = [one for one in newest if isinstance(one, str) and one not in state.revoked]
            for task_id in ids:
                state.revoked.add(task_id)
            for one in newest:
                if isinstance(one, tuple):
                    _revoke_stamp(*one)
            self.kept = {*newest}
            write_atomically(self.path, "".join(map(_line, newest)))
        self.keep()

    def keep(self) -> None:
        """Write the revokes that are not in our file yet."""
        new = [one for one in _known() if one not in self.kept]
        if not new:
            return
        with self._may_fail("keep"), self._locked(), self.path.open("a", encoding="utf-8") as file:
            file.write("".join(map(_line, new)))
            self.kept |= {*new}

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        with (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _may_fail(self, what: str) -> Iterator[None]:
        """Log an error, once until it is over: a full disk must not stop a worker."""
        try:
            yield
        except (OSError, ValueError) as error:
            if not self._failed:
                logger.warning("revokes: cannot %s %s, a restart forgets revoked tasks: %s", what, self.folder, error)
            self._failed = True
        else:
            self._failed = False


class Load(bootsteps.StartStopStep):
    """The worker's step that reads the revokes before the first message is received."""

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self.enabled = False  # there is nothing to start or stop
        if not names.program() or not REVOKES.fits():
            return
        revokes = worker.app.revokes = Revokes(names.program(), names.revokes_dir())
        revokes.read()
        from celery.worker.control import Panel

        for name in COMMANDS:
            if name in Panel.data:
                Panel.data[name] = _keeping(Panel.data[name], revokes)


class Catch(bootsteps.StartStopStep):
    """The consumer's step that reads again, when the worker hears revokes: what was revoked since its start is read."""

    requires = ("celery.worker.consumer.control:Control",)

    def start(self, consumer: Any) -> None:
        """Read them."""
        revokes: Revokes | None = getattr(consumer.app, "revokes", None)
        if revokes is not None:
            revokes.read()


def _keeping(command: Callable[..., Any], revokes: Revokes) -> Callable[..., Any]:
    command = getattr(command, "__wrapped__", command)  # of an earlier worker of this process

    @wraps(command)
    def keep(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        finally:
            revokes.keep()

    return keep


def _known() -> Iterable[Any]:
    """Yield what is revoked in this process, the oldest first."""
    yield from tuple(state.revoked._data)
    for header, stamps in tuple(state.revoked_stamps.items()):
        for stamp in [stamps] if isinstance(stamps, str) else tuple(stamps):
            yield header, stamp


def _revoke_stamp(header: str, stamp: str) -> None:
    stamps = state.revoked_stamps.get(header) or []
    stamps = [stamps] if isinstance(stamps, str) else [*stamps]
    if stamp not in stamps:
        state.revoked_stamps[header] = [*stamps, stamp]


def _line(one: Any) -> str:
    return json.dumps(one) + "\n"


def _parse(text: str) -> Iterator[Any]:
    """Yield the revokes of a file. The last line of a file may be cut off."""
    for line in text.splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, str):
            yield found
        elif isinstance(found, list) and len(found) == 2 and all(isinstance(part, str) for part in found):
            yield tuple(found)
