"""Run the integration suite of Celery or kombu on a lab host, with and without the platform, and compare.

Ends with 1 where a test passes with plain Celery and not here, unless tests/conformance/differences.yml has it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence

from tests.conformance.differences import BROKERS, Comparison, differences
from tests.conformance.sides import PLAIN, PLATFORM, SIDES, Outcomes, Sides, argument
from tests.conformance.suite import HOST, SUITES, TESTS, Suite, locked
from tests.faults.host import Host
from tests.hosts.support import ROOT, as_in_a_shell

AGAIN = 2  # times that a test that comes out otherwise is run again


def make(suite: Suite, *words: str) -> None:
    """Run a verb on the suite's inventory.

    Raises:
        SystemExit: it failed; what it said was shown.
    """
    command = ["make", *words, f"INVENTORY={suite.inventory.relative_to(ROOT)}"]
    done = subprocess.run(command, cwd=ROOT, env=as_in_a_shell(), stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise SystemExit(f"make {words[0]} failed")


def compare(sides: Sides, tests: Sequence[str]) -> Comparison:
    """Run both sides at the same time, and again what comes out otherwise and is not listed.

    Args:
        sides: on a deployed host.
        tests: files or single tests, as pytest takes them.
    """
    expected = tuple(differences(sides.suite.broker, sides.suite.package))
    left_out = [argument(test) for one in expected if one.left_out for test in one.tests]
    found = both(sides, tests, left_out)
    for _ in range(AGAIN):
        comparison = Comparison(found[PLAIN], found[PLATFORM], expected)
        if not comparison.faults():
            break
        print(f"{len(comparison.faults())} came out otherwise; again …", flush=True)
        again = both(sides, [argument(name) for name in comparison.faults()], left_out)
        found = {side: found[side] | steadier(found[side], again[side]) for side in SIDES}
    return Comparison(found[PLAIN], found[PLATFORM], expected)


def both(sides: Sides, tests: Sequence[str], left_out: Sequence[str]) -> dict[str, Outcomes]:
    """Run both sides at the same time, and return what came of each test."""
    sides.start(PLAIN, tests)
    sides.start(PLATFORM, tests, left_out)
    return {side: sides.finish(side) for side in SIDES}


def steadier(before: Outcomes, again: Outcomes) -> Outcomes:
    """Return what to believe of tests that were run again: a test that passed once passes."""
    return {name: "passed" if "passed" in (before.get(name), outcome) else outcome for name, outcome in again.items()}


def show(comparison: Comparison) -> None:
    """Print what differs, and the sums."""
    for side, outcomes in ((PLAIN, comparison.plain), (PLATFORM, comparison.platform)):
        sums = Counter(outcomes.values())
        print(f"{side}: {', '.join(f'{number} {outcome}' for outcome, number in sorted(sums.items()))}")
    for name, one in comparison.on_purpose().items():
        print(f"on purpose: {name}: {one.title}")
    for one in comparison.unused():
        print(f"listed, and does not differ: {one.title}")
    for name in comparison.differing():
        if name not in comparison.on_purpose() and name not in comparison.faults():
            print(f"not passed by plain Celery: {name}: {comparison.plain.get(name)}, {comparison.platform.get(name)}")
    for name in comparison.faults():
        print(f"FAULT: {name}: {comparison.plain.get(name)}, here {comparison.platform.get(name)}")


def main() -> int:
    """Run what the command line asks for, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--broker", choices=BROKERS, default=BROKERS[0])
    parser.add_argument("--suite", choices=SUITES, default=SUITES[0])
    parser.add_argument("--version", help="of Celery or kombu; the locked one when left out")
    parser.add_argument("--keep", action="store_true", help="leave the host for a look")
    parser.add_argument("tests", nargs="*", help="files or single tests of the suite; all when left out")
    options = parser.parse_args()
    suite = Suite(options.suite, options.version or locked(options.suite), options.broker)
    suite.prepare()
    try:
        make(suite, "deploy")
        make(suite, "drain", f"HOST={HOST}")
        sides = Sides(suite, Host(suite.inventory))
        sides.prepare()
        comparison = compare(sides, options.tests or TESTS[suite.package][suite.broker])
    finally:
        if not options.keep:
            make(suite, "destroy")
    show(comparison)
    print(f"Logs and reports: {suite.folder.relative_to(ROOT)}")
    if not comparison.ran:
        print("No test passed as plain Celery: the suite did not run, and nothing is proved.")
        return 1
    return 1 if comparison.faults() else 0


if __name__ == "__main__":
    sys.exit(main())
