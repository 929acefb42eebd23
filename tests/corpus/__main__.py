"""Deploy each application of tests/apps to a lab host of its own, one after the other, and show what works.

Ends with 1 where an application does not do what it should, or does what the platform is said to lack. What `make
deploy` said is kept in .cache/apps.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.unit import conftest  # isort: skip  # lets Python find the collection
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.table import table

from tests.corpus.applications import APPLICATIONS, Application
from tests.faults.host import Host
from tests.hosts.support import ROOT, as_in_a_shell

__all__ = ["conftest"]
LOGS = ROOT / ".cache" / "apps"
COLUMNS = ("application", "deployed", "tasks", "beat", "web", "static", "seconds")
YES, NO, NOTHING = "yes", "no", "-"


@dataclass
class Row:
    """What became of an application.

    Args:
        name: of the application.
        cells: `YES`, `NO` or `NOTHING` by column.
        reasons: what was said where something did not work.
    """

    name: str
    cells: dict[str, str] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)

    @property
    def works(self) -> bool:
        """Whether nothing failed."""
        return not self.reasons

    def line(self) -> list[str]:
        """Return the row's cells in the order of the columns."""
        return [self.name, *(self.cells.get(column, NOTHING) for column in COLUMNS[1:])]


def make(application: Application, verb: str) -> tuple[bool, Path]:
    """Run a verb on an application's inventory; return whether it ended well, and the file with what it said."""
    log = LOGS / f"{application.name}-{verb}.log"
    words = ["make", verb, f"INVENTORY={application.inventory.relative_to(ROOT)}"]
    with log.open("w", encoding="utf-8") as file:
        done = subprocess.run(
            words, cwd=ROOT, env=as_in_a_shell(), stdin=subprocess.DEVNULL, stdout=file, stderr=file, check=False
        )
    return done.returncode == 0, log


def attempt(application: Application) -> Row:
    """Deploy an application and try all that it does."""
    row, began = Row(application.name), time.monotonic()
    deployed, log = make(application, "deploy")
    row.cells["seconds"] = f"{time.monotonic() - began:.0f}"
    row.cells["deployed"] = YES if deployed else NO
    if not deployed:
        row.reasons.append(f"deployed: {log.relative_to(ROOT)} ends with\n{tail(log.read_text(encoding='utf-8'))}")
        return row
    host = Host(application.inventory)
    for column, step in application.steps().items():
        if step:
            try:
                step(host)
                row.cells[column] = YES
            except (AssertionError, OSError, ValueError, LookupError) as error:
                row.cells[column] = NO
                row.reasons.append(f"{column}: {error}")
    return row


def tail(text: str) -> str:
    """Return the last lines of a text, indented."""
    return "\n".join(f"    {line}" for line in text.splitlines()[-25:])


def main() -> int:
    """Run what the command line asks for, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.corpus", description=__doc__)
    names = [application.name for application in APPLICATIONS]
    parser.add_argument("--app", action="append", choices=names, help="only this one; may be repeated")
    parser.add_argument("--keep", action="store_true", help="leave the hosts for a look")
    options = parser.parse_args()
    LOGS.mkdir(parents=True, exist_ok=True)
    rows = []
    for application in APPLICATIONS:
        if options.app and application.name not in options.app:
            continue
        print(f"{application.name} …", flush=True)
        try:
            row = attempt(application)
        finally:
            if not options.keep:
                make(application, "destroy")
        rows.append((application, row))
        for reason in row.reasons:
            print(f"  {reason}", flush=True)
    print(*table([COLUMNS, *(row.line() for _, row in rows)]), sep="\n")
    surprises = [surprise(application, row) for application, row in rows if row.works == bool(application.lacks)]
    print(*surprises, sep="\n")
    return 1 if surprises else 0


def surprise(application: Application, row: Row) -> str:
    """Say what is wrong with an application that fails and should work, or the other way round."""
    if row.works:
        return f"{row.name} works, although the platform is said to lack {application.lacks}: remove `lacks`."
    return f"{row.name} does not work."


if __name__ == "__main__":
    sys.exit(main())
