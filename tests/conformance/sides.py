"""Run the suite on a lab host: as plain Celery with its defaults, and through the platform."""

from __future__ import annotations

import re
import secrets
import shlex
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from dataclasses import dataclass

from tests.conformance.suite import Suite
from tests.faults.host import Host

PLACE = "/var/tmp/conformance"  # noqa: S108  # on the lab host: reports, logs, and the environments of the two sides
RELEASE = "/opt/celery/current"
PLAIN, PLATFORM = "plain", "platform"
SIDES = (PLAIN, PLATFORM)
VHOST = "conformance"
# Databases of Redis that the platform does not use: the plain side's broker and results, each side's own connection.
PLAIN_BROKER, PLAIN_RESULTS, OWN = 6, 7, {PLAIN: 8, PLATFORM: 9}
PATIENCE_S = 3600

Outcomes = dict[str, str]

# What the suite's own settings for pytest say, without those for its unit tests. test_backend.py needs Azure.
OPTIONS = (
    *("-p", "celery.contrib.pytest", "-p", "suite_access", "-p", "no:cacheprovider"),
    *("-o", "python_classes=test_*", "-o", "xfail_strict=true", "--timeout", "300", "-q"),
    *("--ignore-glob", "*/test_backend.py", "--continue-on-collection-errors"),
)
PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


@dataclass(frozen=True)
class Sides:
    """The two sides on a deployed host, whose own workers are stopped.

    Args:
        suite: what is run.
        host: where.
    """

    suite: Suite
    host: Host

    def prepare(self) -> None:
        """Give the plain side a place at the broker, and write the environments of both sides."""
        self.host.run(f"install -d -o celery -g celery -m 0700 {PLACE}")
        operator = self.host.platform.secrets["redis_operator"]
        redis = f"redis://operator:{operator}@127.0.0.1:6379/"
        broker = f"{redis}{PLAIN_BROKER}"
        if self.suite.broker == "rabbitmq":
            password = secrets.token_hex()
            # rabbitmqctl reads the password from its input
            self.host.podman("exec", "rabbitmqctl", "add_user", VHOST, stdin=f"{password}\n")
            rights = f"rabbitmqctl set_permissions -p {VHOST} {VHOST} '.*' '.*' '.*'"
            self.host.run(f"rabbitmqctl add_vhost {VHOST} && {rights}")
            broker = f"amqp://{VHOST}:{password}@127.0.0.1:5672/{VHOST}"
        # A release has no program of this name: the one of the host is the platform's.
        celery = f'#!/bin/sh\nexec {RELEASE}/bin/python -m celery "$@"\n'
        self.host.podman("exec", "sh", "-c", f"mkdir -p {PLACE}/bin; cat >{PLACE}/bin/celery", stdin=celery)
        self.host.run(f"chmod -R a+rx {PLACE}/bin")
        self._write(
            PLAIN,
            {
                "HOME": PLACE,
                "PATH": f"{PLACE}/bin:{RELEASE}/bin:/usr/bin:/bin",
                "TEST_BROKER": broker,
                "TEST_BACKEND": f"{redis}{PLAIN_RESULTS}",
                "SUITE_REDIS": f"{redis}{OWN[PLAIN]}",
                "SUITE_BROKER": f"{redis}{OWN[PLAIN]}" if self.suite.broker == "redis" else broker,
            },
        )
        settings = self.host.run("cat /etc/celery/environment")
        address = dict(re.findall(r"^(CELERY_BROKER_URL|CELERY_RESULT_BACKEND)='(.*)'$", settings, re.MULTILINE))
        own = f"{redis}{OWN[PLATFORM]}"
        self._write(
            PLATFORM,
            {
                "TEST_BROKER": address["CELERY_BROKER_URL"],
                "TEST_BACKEND": address["CELERY_RESULT_BACKEND"],
                "SUITE_REDIS": own,
                "SUITE_BROKER": f"{redis}{OWN[PLATFORM]}"
                if self.suite.broker == "redis"
                else address["CELERY_BROKER_URL"],
                "SUITE_RUNTIME": "yes",
            },
        )

    def _write(self, side: str, variables: dict[str, str]) -> None:
        text = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
        self.host.podman("exec", "sh", "-c", f"umask 077; cat >{PLACE}/{side}.env", stdin=text)
        self.host.run(f"chown celery {PLACE}/{side}.env")

    def start(self, side: str, tests: Iterable[str], left_out: Iterable[str] = ()) -> None:
        """Start the suite.

        Args:
            side: `PLAIN` or `PLATFORM`.
            tests: the files, or single tests, as pytest takes them.
            left_out: single tests that are not run.
        """
        words = [*OPTIONS, *(f"--deselect={name}" for name in left_out), f"--junit-xml={PLACE}/{side}.xml", *tests]
        python = {PLAIN: f"{RELEASE}/bin/python", PLATFORM: "/usr/local/bin/celery-python"}[side]
        command = f". {PLACE}/{side}.env; cd {RELEASE}/app/; exec {python} -m pytest {shlex.join(words)}"
        unit = f"conformance-{side}"
        self.host.run(f"rm -f {PLACE}/{side}.xml {PLACE}/{side}.log; systemctl reset-failed {unit} 2>/dev/null; true")
        # A process that a test leaves behind ends with the unit, and does not disturb the next run.
        run = f"systemd-run --quiet --unit {unit} --uid celery --property KillMode=control-group"
        log = f"--property StandardOutput=append:{PLACE}/{side}.log --property StandardError=append:{PLACE}/{side}.log"
        self.host.run(f"{run} {log} sh -c %s", command)

    def finish(self, side: str) -> Outcomes:
        """Wait until the suite has ended, and return what came of each test.

        Raises:
            AssertionError: the suite did not end in an hour, or wrote no report.
        """
        deadline = time.monotonic() + PATIENCE_S
        while self.host.run(f"systemctl is-active conformance-{side}", status=None).strip() == "active":
            assert time.monotonic() < deadline, f"the suite still runs ({side})"
            time.sleep(5)
        log = self.host.run(f"cat {PLACE}/{side}.log")
        (self.suite.folder / f"{side}.log").write_text(log, encoding="utf-8")
        report = self.host.run(f"cat {PLACE}/{side}.xml", status=None)
        assert report.startswith("<?xml"), f"no report of the side {side}: {log[-2000:]}"
        (self.suite.folder / f"{side}.xml").write_text(report, encoding="utf-8")
        return outcomes(report)


def outcomes(report: str) -> Outcomes:
    """Return what came of each test, by the name that pytest reports; a test that was run again counts as it ended.

    Args:
        report: pytest's report in JUnit's format.
    """
    found = {}
    for case in ElementTree.fromstring(report).iter("testcase"):  # noqa: S314  # pytest's own report
        kinds = {child.tag for child in case}
        outcome = FAILED if kinds & {"failure", "error"} else SKIPPED if "skipped" in kinds else PASSED
        found[f"{case.get('classname')}::{case.get('name')}"] = outcome
    return found


def argument(name: str) -> str:
    """Return what selects a reported test on pytest's command line.

    Args:
        name: as pytest reports it, such as `t.integration.test_x.test_Class::test_y[z]`.
    """
    place, _, test = name.partition("::")
    words = place.split(".")
    file = next(number for number, word in enumerate(words) if word.startswith("test_")) + 1
    return "::".join(["/".join(words[:file]) + ".py", *words[file:], test])
