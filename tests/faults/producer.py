"""A producer, as a user's own program would be: runs on the host, sends tasks through Celery until its input ends.

Prints a line of JSON for each call: what was accepted, or with which error it was refused, and whether Celery had to
send it again, for it cannot know whether the broker has what it did not confirm. Its argument is JSON:
``rate`` (calls a second), ``mix`` (kind: weight), ``eta`` (seconds, from and to), ``seed``, ``port`` (the broker's
port; None for the one in the environment).
"""

from __future__ import annotations

import json
import os
import random
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

options = json.loads(sys.argv[1])
if options["port"]:
    os.environ["CELERY_BROKER_URL"] = re.sub(r":\d+/", f":{options['port']}/", os.environ["CELERY_BROKER_URL"])

from celery import chain, chord  # noqa: E402  (the environment says where to)
from tasks import add, app, count, flaky, mul, xsum  # noqa: E402

chance = random.Random(options["seed"])  # noqa: S311


def named(*signatures: Any) -> tuple[list[str], list[Any]]:
    """Give tasks ids before they are sent, so that each of them is known whatever happens."""
    ids = [str(uuid4()) for _ in signatures]
    return ids, [signature.set(task_id=id) for id, signature in zip(ids, signatures, strict=True)]


def one(signature: Any, **how: Any) -> Iterator[list[str]]:
    """Send a single task: yields its id, then sends."""
    ids, (ready,) = named(signature)
    yield ids
    ready.apply_async(**how)


def chained() -> Iterator[list[str]]:
    """A chain of three."""
    ids, steps = named(add.s(1, 2), mul.s(3), add.s(4))
    yield ids
    chain(*steps).apply_async()


def chorded() -> Iterator[list[str]]:
    """A chord: three and the sum of them."""
    ids, (*header, body) = named(add.s(1, 2), add.s(3, 4), add.s(5, 6), xsum.s())
    yield ids
    chord(header)(body)


KINDS: dict[str, Callable[[], Iterator[list[str]]]] = {
    "short": lambda: one(add.s(1, 2)),
    "long": lambda: one(count.s(chance.choice([2, 3]))),
    "eta": lambda: one(add.s(1, 2), countdown=chance.uniform(*options["eta"])),
    "retries": lambda: one(flaky.s(1)),
    "chain": chained,
    "chord": chorded,
}


def main() -> None:
    """Send until the input ends, or the process that reads the output is gone."""
    end = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        end.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    again: list[Any] = []
    policy = app.conf.task_publish_retry_policy
    app.conf.task_publish_retry_policy = {**policy, "errback": lambda error, wait: again.append(error)}
    kinds, weights = zip(*options["mix"].items(), strict=True)
    due = time.monotonic()
    while not end.wait(max(0.0, due - time.monotonic())):
        due = max(due + 1 / options["rate"], time.monotonic())
        (kind,) = chance.choices(kinds, weights)
        sending = KINDS[kind]()
        line: dict[str, Any] = {"kind": kind, "ids": next(sending)}
        again.clear()
        try:
            next(sending, None)
        except Exception as error:  # each transport has its own; none of them is an acceptance
            line["refused"] = f"{type(error).__name__}: {error}"[:200]
        print(json.dumps(line | {"again": bool(again)}), flush=True)


if __name__ == "__main__":
    main()
