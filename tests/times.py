"""Prints where the time of the last `make test` went: `make test-times`.

Each run leaves its reports, as JUnit's XML, in ``.cache/times``: ``test.xml`` is the whole run's, with the seconds of
each scenario's phases, and ``SCENARIO.xml`` has the tests that a scenario runs on its hosts.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

REPORTS = Path(__file__).parents[1] / ".cache" / "times"
WHOLE = "test"  # the name of the whole run's report
LONGEST = 30  # tests that are listed one by one


class Test(NamedTuple):
    """A test and what it took.

    Args:
        seconds: with its fixtures.
        run: `test`, or the scenario on whose hosts the test ran.
        file: the test's module, with dots.
        name: the test's name, with its parameters.
    """

    seconds: float
    run: str
    file: str
    name: str


def tests(report: Path) -> Iterator[Test]:
    """Read the tests of a report.

    Args:
        report: a file that pytest's ``--junit-xml`` wrote.
    """
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314  # pytest wrote it here
        yield Test(float(case.get("time", 0)), report.stem, case.get("classname", ""), case.get("name", ""))


def phases(report: Path) -> dict[str, dict[str, float]]:
    """Read how many seconds each phase of each scenario took.

    Args:
        report: the whole run's.

    Returns:
        By scenario, then by phase, both in the order of the run.
    """
    found: dict[str, dict[str, float]] = {}
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314
        if case.get("name", "").startswith("test_scenario["):
            scenario = case.get("name", "").partition("[")[2].rstrip("]")
            found[scenario] = {
                str(one.get("name")): float(one.get("value", 0)) for one in case.iterfind("properties/property")
            }
    return found


def table(rows: Sequence[Sequence[str]]) -> str:
    """Align columns: the first to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *figures in rows:
        cells = [figure.rjust(width) for figure, width in zip(figures, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]))
    return "\n".join(lines)


def by_phase(scenarios: dict[str, dict[str, float]]) -> str:
    """Tabulate the seconds of each phase, a scenario a line."""
    names = list(dict.fromkeys(name for one in scenarios.values() for name in one))
    rows = [["scenario", *names, "all"]]
    for scenario, one in scenarios.items():
        seconds = [f"{one[name]:.0f}" if name in one else "-" for name in names]
        rows.append([scenario, *seconds, f"{sum(one.values()):.0f}"])
    return table(rows)


def by_file(everything: Sequence[Test]) -> str:
    """Tabulate the seconds of each file of tests, a file a line and a run a column, the longest first."""
    runs = list(dict.fromkeys(test.run for test in everything))
    sums: dict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys(runs, 0.0))
    for test in everything:
        sums[test.file][test.run] += test.seconds
    rows = [["file", *runs]]
    for file, one in sorted(sums.items(), key=lambda item: -sum(item[1].values())):
        if sum(one.values()) >= 1:
            rows.append([file, *(f"{seconds:.0f}" if seconds else "-" for seconds in one.values())])
    return table(rows)


def main() -> None:
    """Print the tables.

    Raises:
        SystemExit: nothing was measured yet.
    """
    whole = REPORTS / f"{WHOLE}.xml"
    if not whole.exists():
        sys.exit("There is no report yet: run `make test` first.")
    scenarios = phases(whole)
    reports = [whole, *(path for name in scenarios if (path := REPORTS / f"{name}.xml").exists())]
    everything = [test for report in reports for test in tests(report) if not test.name.startswith("test_scenario[")]
    suite = next(ElementTree.parse(whole).iter("testsuite"))  # noqa: S314
    minutes = float(suite.get("time", 0)) / 60
    print(f"The whole run: {minutes:.1f} minutes, begun at {suite.get('timestamp', '?')[:16]}\n")
    print(f"Seconds by scenario and phase (scenarios run side by side)\n\n{by_phase(scenarios)}\n")
    print(f"Seconds by file\n\n{by_file(everything)}\n")
    longest = sorted(everything, reverse=True)[:LONGEST]
    rows = [[f"{one.run}: {one.file.rpartition('.')[2]}::{one.name}", f"{one.seconds:.0f}"] for one in longest]
    print(f"The longest tests, in seconds\n\n{table(rows)}")


if __name__ == "__main__":
    main()
