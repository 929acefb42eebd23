"""Look after dead letters: messages that are kept, because no worker will run them.

What a broker could not deliver, or gave up, is dead-lettered and not dropped. It waits until somebody sees why, and
requeues or drops it.

Exit codes: 0 done, 1 something asked for is not dead-lettered or could not be requeued, 2 wrong usage, 3 the broker is
out of reach.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from typing import Any

from amqp.exceptions import NotFound
from celery import Celery
from kombu.exceptions import OperationalError

from .. import text
from ..platform_file import Platform, PlatformError
from ..upstream import UnknownUpstream
from .letter import DeadLetter, DeadLetters, NotRequeued
from .rabbitmq import RabbitMQ
from .redis import Redis

DONE, LEFT, USAGE, OUT_OF_REACH = range(4)
VERBS = {
    "list": "a line for each (when no verb is given)",
    "show": "everything about some",
    "retry": "requeue some, with a fresh count of deliveries",
    "drop": "remove some for good",
}
COLUMNS = ("ID", "TASK", "QUEUE", "REASON", "TRIES", "SINCE", "ARGUMENTS")
WIDTH = 160  # columns of a table that is not shown on a terminal


class Selection:
    """The dead letters that are meant.

    Args:
        ids: of the tasks; every dead letter when empty. Of several dead letters of one task the first is meant.
        task: only those of this task.
        queue: only those of this queue.
    """

    def __init__(self, ids: Iterable[str] = (), task: str | None = None, queue: str | None = None) -> None:
        self.missing = list(dict.fromkeys(ids))
        self._by_id = bool(self.missing)
        self._task = task
        self._queue = queue

    def of(self, letters: Iterable[DeadLetter]) -> Iterator[DeadLetter]:
        """Pick those that are meant. Afterwards ``missing`` has the ids that were not found."""
        for letter in letters:
            if self._task not in (None, letter.task) or self._queue not in (None, letter.queue):
                continue
            if self._by_id:
                if letter.id not in self.missing:
                    continue
                self.missing.remove(letter.id)
            yield letter
            if self._by_id and not self.missing:
                return


@contextmanager
def dead_letters(platform: Platform, timeout: float = 10.0) -> Iterator[DeadLetters]:
    """Open the dead letters of the platform's broker.

    The application is not imported: the command has to work when the application does not.

    Args:
        platform: whose.
        timeout: seconds for the broker to answer.

    Raises:
        OperationalError: the broker is out of reach, now or later on.
    """
    app = Celery("celery-dead", set_as_current=False, fixups=())
    with app.connection_for_write() as connection:
        try:
            connection.ensure_connection(max_retries=1, timeout=timeout)
            letters = RabbitMQ(connection) if platform.broker == "rabbitmq" else Redis(connection, platform)
            try:
                yield letters
            finally:
                letters.close()
        except NotFound as error:
            raise OperationalError(f"{error.reply_text}. Deploy again to make it.") from error
        except (*connection.connection_errors, *connection.channel_errors) as error:
            raise OperationalError(str(error)) from error


def show_list(letters: DeadLetters, selection: Selection, limit: int, as_json: bool) -> int:
    """Print a line for each dead letter, and how many there are in all."""
    total = letters.count()
    found = sorted(islice(selection.of(letters.look()), limit or None), key=_when)
    if as_json:
        for letter in found:
            print(json.dumps(letter.as_json()))
    elif found:
        width = shutil.get_terminal_size((WIDTH, 24)).columns if sys.stdout.isatty() else WIDTH
        print("\n".join(text.table([COLUMNS, *map(_row, found)], width)))
    print(f"{len(found)} of {total} dead-lettered", file=sys.stderr)
    return DONE


def show(letters: DeadLetters, selection: Selection, as_json: bool) -> int:
    """Print everything about each dead letter."""
    found = 0
    for letter in selection.of(letters.look()):
        found += 1
        print(json.dumps(letter.as_json()) if as_json else details(letter))
    return max(_missing(selection), DONE if found else LEFT)


def retry(letters: DeadLetters, selection: Selection, to: str | None, as_json: bool) -> int:
    """Requeue each dead letter to where it came from, or to another queue."""
    found = left = 0
    for letter in selection.of(letters.look()):
        found += 1
        queue = to or letter.queue
        try:
            letters.requeue(letter, queue)
        except NotRequeued as error:
            left += 1
            print(f"{letter.id} stays dead-lettered: {error}. --to gives it to another queue.", file=sys.stderr)
            continue
        _say("requeued to " + queue, letter, as_json)
    print(f"{found - left} requeued", file=sys.stderr)
    return max(_missing(selection), LEFT if left or not found else DONE)


def drop(letters: DeadLetters, selection: Selection, as_json: bool) -> int:
    """Remove each dead letter for good. It is printed first, so that it leaves a trace."""
    found = 0
    for letter in selection.of(letters.look()):
        found += 1
        _say("dropped", letter, as_json)
        letters.drop(letter)
    print(f"{found} dropped", file=sys.stderr)
    return max(_missing(selection), DONE if found else LEFT)


def _say(done: str, letter: DeadLetter, as_json: bool) -> None:
    if as_json:
        print(json.dumps(letter.as_json()), flush=True)
    else:
        args, kwargs = letter.arguments()
        print(f"{done}: {letter.id} {letter.task} {args} {kwargs}".rstrip(), flush=True)


def _missing(selection: Selection) -> int:
    for id in selection.missing:
        print(f"{id} is not dead-lettered", file=sys.stderr)
    return LEFT if selection.missing else DONE


def _row(letter: DeadLetter) -> tuple[str, ...]:
    args, kwargs = letter.arguments()
    tries = "-" if letter.deliveries is None else str(letter.deliveries)
    since = "-" if letter.since is None else datetime.fromtimestamp(letter.since).strftime("%Y-%m-%d %H:%M:%S")
    arguments = " ".join(part for part in (args, kwargs) if part not in ("", "{}"))
    return (letter.id, letter.task or "-", letter.queue or "-", letter.reason, tries, since, arguments)


def _when(letter: DeadLetter) -> float:
    return letter.since or float("inf")


def details(letter: DeadLetter) -> str:
    """Return everything about a dead letter, for people."""
    lines = []
    for name, value in letter.as_json().items():
        if isinstance(value, dict):
            lines.append(f"{name}:")
            lines += [f"  {key}: {json.dumps(value[key], ensure_ascii=False)}" for key in sorted(value)]
        else:
            lines.append(f"{name}: {'-' if value is None else value}")
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Run ``celery-dead``.

    Args:
        argv: arguments; those of the process when None.

    Returns:
        the exit code, see the module.
    """
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] not in (*VERBS, "-h", "--help"):
        argv = ["list", *argv]
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        platform = Platform.load()
    except PlatformError as error:
        print(f"celery-dead: {error}", file=sys.stderr)
        return OUT_OF_REACH
    if options.verb in ("show", "retry", "drop") and bool(options.id) == options.all:
        parser.error(f"{options.verb}: which? Give ids, or --all")
    if options.verb == "drop" and not options.yes and not _confirmed(parser, options):
        print("Nothing was dropped.", file=sys.stderr)
        return LEFT
    selection = Selection(options.id, options.task, options.queue)
    try:
        with dead_letters(platform) as letters:
            return _run(letters, selection, options)
    except UnknownUpstream as error:
        print(f"celery-dead: {error}", file=sys.stderr)
        return OUT_OF_REACH
    except OperationalError as error:
        print(f"celery-dead: the broker does not answer: {error}", file=sys.stderr)
        return OUT_OF_REACH


def _confirmed(parser: argparse.ArgumentParser, options: Any) -> bool:
    if not sys.stdin.isatty():
        parser.error("drop: there is no terminal to ask on; --yes confirms")
    what = "all dead letters" if options.all else f"{len(options.id)} dead letters"
    return input(f"Drop {what} for good? [y/N] ").strip().lower() in ("y", "yes")


def _run(letters: DeadLetters, selection: Selection, options: Any) -> int:
    if options.verb == "list":
        return show_list(letters, selection, options.limit, options.json)
    if options.verb == "show":
        return show(letters, selection, options.json)
    if options.verb == "retry":
        return retry(letters, selection, options.to, options.json)
    return drop(letters, selection, options.json)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="celery-dead", description=(__doc__ or "").split("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name, help in VERBS.items():
        verb = verbs.add_parser(name, help=help, description=help)
        verb.add_argument("--task", metavar="NAME", help="only those of this task")
        verb.add_argument("--queue", metavar="QUEUE", help="only those of this queue")
        verb.add_argument("--json", action="store_true", help="a JSON object for each, one a line")
        if name == "list":
            verb.add_argument("--limit", type=int, default=50, metavar="N", help="at most so many; 0: all (50)")
            verb.set_defaults(id=[])
            continue
        verb.add_argument("id", nargs="*", metavar="ID", help="a task's id")
        verb.add_argument("--all", action="store_true", help="every one, or every one of --task and --queue")
        if name == "retry":
            verb.add_argument("--to", metavar="QUEUE", help="requeue them to this queue instead")
        if name == "drop":
            verb.add_argument("--yes", action="store_true", help="do not ask")
    return parser
