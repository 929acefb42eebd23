"""Look after parked messages: ``python -m celery_on_hosts.dead``, or ``celery-dead``.

What a broker could not deliver, or gave up, is parked and not dropped. It waits here for someone to see why, and to
put it back or to drop it.

Exit codes: 0 done, 1 something asked for is not parked or could not be put back, 2 wrong usage, 3 the broker is out
of reach.
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

from .config import Platform, PlatformError
from .parking import NotPutBack, Parked, Parking, RabbitMQ, Redis

DONE, LEFT, USAGE, OUT_OF_REACH = range(4)
VERBS = ("list", "show", "retry", "drop")
COLUMNS = ("ID", "TASK", "QUEUE", "REASON", "TRIES", "SINCE", "ARGUMENTS")
NARROWEST = 20


class Selection:
    """Which messages are meant.

    Args:
        ids: of the tasks; every message when empty. Of several messages of one task the first is meant.
        task: only those of this task.
        queue: only those of this queue.
    """

    def __init__(self, ids: Iterable[str] = (), task: str | None = None, queue: str | None = None) -> None:
        self.missing = list(dict.fromkeys(ids))
        self._by_id = bool(self.missing)
        self._task = task
        self._queue = queue

    def of(self, messages: Iterable[Parked]) -> Iterator[Parked]:
        """Pick those that are meant. ``missing`` has the ids that were not among them yet; after the last it ends."""
        for message in messages:
            if self._task not in (None, message.task) or self._queue not in (None, message.queue):
                continue
            if self._by_id:
                if message.id not in self.missing:
                    continue
                self.missing.remove(message.id)
            yield message
            if self._by_id and not self.missing:
                return


@contextmanager
def parking(platform: Platform, timeout: float = 10.0) -> Iterator[Parking]:
    """Open the parking places of the platform's broker.

    The application is not imported: this has to work when it does not.

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
            place = RabbitMQ(connection, platform) if platform.broker == "rabbitmq" else Redis(connection, platform)
            try:
                yield place
            finally:
                place.close()
        except NotFound as error:
            raise OperationalError(f"{error.reply_text}. Deploy again to make it.") from error
        except (*connection.connection_errors, *connection.channel_errors) as error:
            raise OperationalError(str(error)) from error


def show_list(place: Parking, selection: Selection, limit: int, as_json: bool) -> int:
    """Print a line for each message, and how many there are in all."""
    total = place.count()
    rows = sorted(islice(selection.of(place.look()), limit or None), key=_when)
    if as_json:
        for message in rows:
            print(json.dumps(message.as_json()))
    elif rows:
        width = shutil.get_terminal_size((160, 24)).columns if sys.stdout.isatty() else 160
        print(table(rows, width))
    print(f"{len(rows)} of {total} parked", file=sys.stderr)
    return DONE


def show(place: Parking, selection: Selection, as_json: bool) -> int:
    """Print everything about each message."""
    found = 0
    for message in selection.of(place.look()):
        found += 1
        print(json.dumps(message.as_json()) if as_json else details(message))
    return max(_missing(selection), DONE if found else LEFT)


def retry(place: Parking, selection: Selection, to: str | None, as_json: bool) -> int:
    """Put each message back to where it came from, or to another queue."""
    found = left = 0
    for message in selection.of(place.look()):
        found += 1
        queue = to or message.queue
        try:
            place.put_back(message, queue)
        except NotPutBack as error:
            left += 1
            print(f"{message.id} stays parked: {error}. --to gives it to another one.", file=sys.stderr)
            continue
        _say("put back to " + queue, message, as_json)
    print(f"{found - left} put back", file=sys.stderr)
    return max(_missing(selection), LEFT if left or not found else DONE)


def drop(place: Parking, selection: Selection, as_json: bool) -> int:
    """Remove each message for good. It is printed before, so that it is not gone without a trace."""
    found = 0
    for message in selection.of(place.look()):
        found += 1
        _say("dropped", message, as_json)
        place.drop(message)
    print(f"{found} dropped", file=sys.stderr)
    return max(_missing(selection), DONE if found else LEFT)


def _say(done: str, message: Parked, as_json: bool) -> None:
    if as_json:
        print(json.dumps(message.as_json()), flush=True)
    else:
        args, kwargs = message.arguments()
        print(f"{done}: {message.id} {message.task} {args} {kwargs}".rstrip(), flush=True)


def _missing(selection: Selection) -> int:
    for id in selection.missing:
        print(f"{id} is not parked", file=sys.stderr)
    return LEFT if selection.missing else DONE


def table(messages: list[Parked], width: int) -> str:
    """The messages as a table for people.

    Args:
        messages: one a line.
        width: columns of the terminal; the arguments are cut to what is left of them.
    """
    rows = [COLUMNS, *(_row(message) for message in messages)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS) - 1)]
    left = max(NARROWEST, width - sum(widths) - 2 * len(widths))
    return "\n".join(
        "  ".join([*(cell.ljust(size) for cell, size in zip(row, widths, strict=False)), _cut(row[-1], left)]).rstrip()
        for row in rows
    )


def _row(message: Parked) -> tuple[str, ...]:
    args, kwargs = message.arguments()
    tries = "-" if message.deliveries is None else str(message.deliveries)
    arguments = " ".join(part for part in (args, kwargs) if part not in ("", "{}"))
    return (message.id, message.task or "-", message.queue or "-", message.reason, tries, _since(message), arguments)


def _when(message: Parked) -> float:
    return message.since or float("inf")


def _since(message: Parked) -> str:
    return "-" if message.since is None else datetime.fromtimestamp(message.since).strftime("%Y-%m-%d %H:%M:%S")


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def details(message: Parked) -> str:
    """Everything about a message, for people."""
    lines = []
    for name, value in message.as_json().items():
        if isinstance(value, dict):
            lines.append(f"{name}:")
            lines += [f"  {key}: {json.dumps(value[key], ensure_ascii=False)}" for key in sorted(value)]
        else:
            lines.append(f"{name}: {'-' if value is None else value}")
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Run the command.

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
    if options.verb == "drop" and not options.yes:
        if not sys.stdin.isatty():
            parser.error("drop: nobody is there to be asked; --yes says that it is meant")
        what = "all parked messages" if options.all else f"{len(options.id)} parked messages"
        if input(f"Drop {what} for good? [y/N] ").strip().lower() not in ("y", "yes"):
            print("Nothing was dropped.", file=sys.stderr)
            return LEFT
    selection = Selection(options.id, options.task, options.queue)
    try:
        with parking(platform) as place:
            return _run(place, selection, options)
    except OperationalError as error:
        print(f"celery-dead: the broker does not answer: {error}", file=sys.stderr)
        return OUT_OF_REACH


def _run(place: Parking, selection: Selection, options: Any) -> int:
    if options.verb == "list":
        return show_list(place, selection, options.limit, options.json)
    if options.verb == "show":
        return show(place, selection, options.json)
    if options.verb == "retry":
        return retry(place, selection, options.to, options.json)
    return drop(place, selection, options.json)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="celery-dead", description=(__doc__ or "").split("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    helps = {
        "list": "a line for each (when no verb is given)",
        "show": "everything about some",
        "retry": "put some back to their queues, with a fresh count of deliveries",
        "drop": "remove some for good",
    }
    for name, text in helps.items():
        verb = verbs.add_parser(name, help=text, description=text)
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
            verb.add_argument("--to", metavar="QUEUE", help="put them to this queue instead")
        if name == "drop":
            verb.add_argument("--yes", action="store_true", help="do not ask")
    return parser


if __name__ == "__main__":
    sys.exit(main())
