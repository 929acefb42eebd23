"""Run an example from the shell, wait for its result, and print it."""

import argparse
import sys
from pathlib import Path
from typing import Any

import django
from celery.result import AsyncResult, EagerResult, GroupResult

django.setup()

from tasks import files, registry  # noqa: E402 - the examples need Django
from tasks.examples import CHAPTERS  # noqa: E402


def main() -> str | None:
    """Run what the command line says; return what is wrong with it, if anything."""
    parser = argparse.ArgumentParser(prog="python -m tasks.examples", description=__doc__)
    parser.add_argument("example", nargs="?", help="its name; none lists them all")
    parser.add_argument(
        "arguments", nargs="*", metavar="key=value", help="a list is written with commas, a file as @name"
    )
    parser.add_argument("--timeout", type=float, default=60, help="seconds to wait for the result (60)")
    options = parser.parse_args()
    if not options.example:
        for chapter, title in CHAPTERS.items():
            print(f"\n{title}")
            for one in registry.load().values():
                if one.chapter == chapter:
                    print(f"  {one.name:24} {one.title}")
        return None
    try:
        found = registry.find(options.example)
        texts = _texts(options.arguments)
        for name, kind in found.uploads.items():
            if (text := texts.get(name, "")).startswith("@"):
                path = Path(text[1:])
                texts[name] = str(files.store(kind, path.name, path.read_bytes()).pk)
        show(found.function(**found.read(texts)), options.timeout)
    except (registry.UnknownExample, registry.BadArguments, files.BadFile, files.StorageFull, OSError) as error:
        return str(error)
    return None


def _texts(arguments: list[str]) -> dict[str, str]:
    try:
        return dict(text.split("=", 1) for text in arguments)
    except ValueError:
        raise registry.BadArguments(f"arguments are written as key=value, not {' '.join(arguments)}") from None


def show(outcome: Any, timeout: float) -> None:
    """Print what the call returned: a value, or a result once it is there."""
    if isinstance(outcome, AsyncResult | GroupResult) and not isinstance(outcome, EagerResult):
        print(outcome.id)
        outcome = outcome.get(timeout=timeout)
    print(outcome.get() if isinstance(outcome, EagerResult) else outcome)


if __name__ == "__main__":
    sys.exit(main())
