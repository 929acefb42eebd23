"""Run ``celery_web_command`` with the address at which nginx asks the web side.

``python -m celery_on_hosts.web.command ADDRESS PORT daphne -b '$CELERY_WEB_ADDRESS' -p '$CELERY_WEB_PORT' …``
"""

from __future__ import annotations

import os
import string
import sys
from collections.abc import Mapping, Sequence

from ..program import NoProgram, resolve

ADDRESS_VARIABLE, PORT_VARIABLE = "CELERY_WEB_ADDRESS", "CELERY_WEB_PORT"


class CommandError(Exception):
    """A command that cannot be run; the message says why."""


def prepare(words: Sequence[str], variables: Mapping[str, str]) -> list[str]:
    """Return the command that runs, with its program's path and with its variables in place.

    Args:
        words: a program and its arguments; ``$NAME`` or ``${NAME}`` is a variable, ``$$`` a dollar.
        variables: the environment, with the web side's address.

    Raises:
        CommandError: a variable is not set, or there is no such program.
    """
    try:
        return resolve([string.Template(word).substitute(variables) for word in words])
    except KeyError as error:
        raise CommandError(f"the variable {error.args[0]} is not set") from error
    except ValueError as error:
        raise CommandError(f"a $ that begins no variable ({error}); write $$") from error
    except NoProgram as error:
        raise CommandError(f"{error}. Add its package to the application's lock.") from error


def with_address(variables: Mapping[str, str], address: str, port: str) -> dict[str, str]:
    """Return an environment with the web side's address, and with whose headers it believes where nobody says so."""
    defaults = {"PORT": port, "FORWARDED_ALLOW_IPS": "127.0.0.1"}
    return {**defaults, **variables, ADDRESS_VARIABLE: address, PORT_VARIABLE: port}


def main(arguments: Sequence[str]) -> None:
    """Run the command in place of this process."""
    os.environ.update(with_address(os.environ, *arguments[:2]))
    try:
        command = prepare(arguments[2:], os.environ)
    except CommandError as error:
        sys.exit(f"celery_web_command: {error}")
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
