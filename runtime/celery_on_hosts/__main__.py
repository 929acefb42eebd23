"""The ``celery`` command, as ``python -m celery``, which knows ``inspect release`` from the start.

Celery looks an inspect command up before it has loaded the application's loader, which would bring it.
"""

from __future__ import annotations

import sys
import types
from typing import Any

import click
from celery.__main__ import main

from . import garbage, upstream


def put_off_the_shell() -> None:
    """Load the shell of ``celery amqp repl`` when it is asked for: it is a tenth of every start, of a worker's too.

    Celery imports click_repl, and prompt_toolkit with it, to add that one command (celery/bin/amqp.py; making it
    optional is celery/celery#6753). A Celery that the runtime was not tested with loads it at once.
    """
    if not upstream.is_tested("celery"):
        return

    def register_repl(group: click.Group, name: str = "repl") -> None:
        del sys.modules["click_repl"]  # another import gets the real module

        @group.command(name)
        @click.pass_context
        def repl(context: click.Context) -> Any:
            """Start an interactive shell. All subcommands are available in it."""
            import click_repl

            return click_repl.repl(context)

    stub = types.ModuleType("click_repl")
    stub.register_repl = register_repl  # type: ignore[attr-defined]
    sys.modules["click_repl"] = stub


if __name__ == "__main__":
    garbage.put_off()
    put_off_the_shell()
    sys.argv[0] = "celery"
    if "inspect" in sys.argv:  # not for a worker: gevent has to patch first what this imports
        from . import control  # noqa: F401
    sys.exit(main())
