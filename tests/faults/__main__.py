"""`make chaos`: break lab hosts under load, count what is lost, write the report.

Each broker has a host of its own, made and deployed as a user's is, and removed at the end. What was measured is kept
in .cache/faults and written as a page there; --publish writes it to docs/.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.deployments.support import Deployments
from tests.faults import report
from tests.faults.faults import FAULTS
from tests.faults.host import Host
from tests.faults.ledger import Verdict
from tests.faults.proofs import PROOFS
from tests.faults.soak import soak
from tests.faults.trial import run
from tests.hosts.support import ROOT

INVENTORIES = Path(__file__).parent / "inventories"
BROKERS = ("rabbitmq", "redis")
OUT = ROOT / ".cache/faults"
ATTEMPTS = 4  # that a proof has to lose something


def seconds(text: str) -> float:
    """40m as seconds.

    Raises:
        argparse.ArgumentTypeError: it is no number with s, m or h.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: 90s, 40m or 2h")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


@contextmanager
def deployed(broker: str, keep: bool) -> Iterator[Host]:
    """A host with this broker.

    Args:
        broker: rabbitmq or redis.
        keep: whether it stays when all is done.

    Raises:
        SystemExit: it could not be made or deployed.
    """
    inventory = INVENTORIES / broker
    try:
        subprocess.run(["bin/lab", str(inventory)], cwd=ROOT, check=True)
        print(f"deploying to {broker}'s host", flush=True)
        done = Deployments(inventory).run()
        if done.status:
            sys.exit(done.said)
        yield Host(inventory)
    finally:
        if not keep:
            subprocess.run(["bin/lab", "--destroy", str(inventory)], cwd=ROOT, check=True)


def tell(verdict: Verdict) -> None:
    """Print a verdict in a line, and what is wrong with it."""
    word = "ok" if verdict.held else "NOT AS PROMISED" if not verdict.proof else "LOST NOTHING, WHICH PROVES NOTHING"
    print(
        f"  {verdict.fault} {verdict.broker}: {word}. accepted {verdict.accepted}, finished {verdict.finished}, "
        f"lost {verdict.lost}, twice {verdict.twice} (allowed {verdict.twice_allowed}), refused {verdict.refused}, "
        f"gap {verdict.gap_s} s, healthy after {verdict.healthy_s} s, noticed after {verdict.noticed_s} s",
        flush=True,
    )
    for problem in verdict.problems:
        print(f"    {problem}", flush=True)


def matrix(host: Host, options: argparse.Namespace) -> Iterator[Verdict]:
    """Try what was asked for on a host, and yield the verdicts."""
    broker = host.platform.broker
    for fault in FAULTS.values():
        if options.fault in (None, fault.id) and not options.proofs:
            print(f"{fault.id} {broker}: {fault.title}", flush=True)
            yield run(fault, host, seed=options.seed)
    for proof in PROOFS:
        if options.fault in (None, proof.fault) and broker in proof.brokers:
            print(f"{proof.fault} {broker}, {proof.without}", flush=True)
            for attempt in range(ATTEMPTS):
                verdict = run(
                    FAULTS[proof.fault],
                    host,
                    seed=options.seed + attempt,
                    without=proof.without,
                    unprotected=proof.taken_away(host),
                )
                if verdict.lost:
                    break
            yield verdict


def main() -> int:
    """Run it. Returns 0 when everything is as promised and every proof has lost something."""
    parser = argparse.ArgumentParser(prog="make chaos", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--fault", choices=list(FAULTS), help="only this one, with its proofs")
    parser.add_argument("--broker", choices=BROKERS, help="only with this one")
    parser.add_argument("--soak", type=seconds, help="random faults for so long, such as 40m")
    parser.add_argument("--seed", type=int, help="of all choices; a soak's is random by default")
    parser.add_argument("--proofs", action="store_true", help="only the proofs")
    parser.add_argument("--publish", action="store_true", help="write the report to docs/")
    parser.add_argument("--keep", action="store_true", help="leave the hosts as they are")
    options = parser.parse_args()
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(10_000) if options.soak else 1
    print(f"SEED={options.seed}", flush=True)
    os.chdir(ROOT)
    held = True
    for broker in BROKERS:
        if options.broker not in (None, broker):
            continue
        with deployed(broker, options.keep) as host:
            verdicts = iter([soak(host, options.soak, options.seed)]) if options.soak else matrix(host, options)
            for verdict in verdicts:
                tell(verdict)
                report.keep(verdict, OUT / "verdicts")
                held = held and verdict.held
    report.write(report.kept(OUT / "verdicts"), ROOT / "docs" if options.publish else OUT)
    print(f"{'docs' if options.publish else OUT}/guarantees.md", flush=True)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
