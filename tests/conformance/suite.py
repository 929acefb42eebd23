"""Fetch Celery's integration suite, and make an application of it that the platform deploys.

Nothing of the suite enters the repository: it comes from the source distribution of a Celery version on PyPI, and goes
to .cache/conformance.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.hosts.support import ROOT

HERE = Path(__file__).parent
CACHE = ROOT / ".cache" / "conformance"
UV = str(ROOT / ".venv/bin/uv")
EXTRAS = "auth,gevent,msgpack,pydantic,pymemcache,redis,sqlalchemy,yaml"
# What the suite imports. Where the suite pins a version, the version is the suite's.
NEEDS = (
    *("pytest", "pytest-click", "pytest-order", "pytest-rerunfailures", "pytest-subtests", "pytest-timeout"),
    *("django", "freezegun", "tblib"),
)
GROUPS = ("brokers", "results", "workers")  # beat, Flower and a web side would only disturb
HOST = "celery1"
# An application that has nothing: the suite makes applications of its own.
APP = """from celery import Celery

app = Celery("conformance", broker="memory://")
"""


def locked_celery() -> str:
    """Return the version of Celery that the tasks application is locked to.

    Raises:
        LookupError: the lock does not name Celery.
    """
    found = re.search(r"^celery==(\S+)", (ROOT / "app/requirements.lock").read_text(), re.MULTILINE)
    if not found:
        raise LookupError("app/requirements.lock names no celery")
    return found[1]


@dataclass(frozen=True)
class Suite:
    """The suite of a version of Celery, and its place on a lab host.

    Args:
        version: of Celery.
        broker: rabbitmq or redis.
    """

    version: str
    broker: str

    @property
    def folder(self) -> Path:
        """Where everything of this suite is."""
        return CACHE / f"{self.version}-{self.broker}"

    @property
    def inventory(self) -> Path:
        """The inventory of its lab host."""
        return self.folder / "inventory"

    def prepare(self) -> None:
        """Fetch the suite and write its application and inventory, unless they are there.

        Raises:
            subprocess.CalledProcessError: a package cannot be had.
        """
        source = fetch(self.version)
        app = self.folder / "app"
        shutil.rmtree(app, ignore_errors=True)
        shutil.copytree(source / "t", app / "t")
        (app / "conformance.py").write_text(APP)
        shutil.copy(HERE / "suite_access.py", app)
        self._lock(source, app)
        (self.inventory / "group_vars").mkdir(parents=True, exist_ok=True)
        hosts = {"lab": {"hosts": {HOST: {"lab_debian": 13}}}} | {name: {"hosts": {HOST: None}} for name in GROUPS}
        (self.inventory / "hosts.yml").write_text(yaml.safe_dump(hosts))
        variables = {
            "celery_app": "conformance",
            "celery_app_source": str(app),
            "celery_broker": self.broker,
            "celery_workers": [{"name": "celery", "queues": ["celery"], "concurrency": 1}],
        }
        (self.inventory / "group_vars/all.yml").write_text(yaml.safe_dump(variables))

    def _lock(self, source: Path, app: Path) -> None:
        kept = self.folder / "requirements.lock"
        if not kept.exists():
            wanted = [pins(source).get(name, name) for name in NEEDS]
            asked = self.folder / "requirements.in"
            asked.write_text("\n".join([f"celery[{EXTRAS}]=={self.version}", *wanted, ""]))
            command = [UV, "pip", "compile", "--quiet", "--python-version", "3.13", "--output-file", str(kept)]
            subprocess.run([*command, "--no-emit-index-url", "--no-header", str(asked)], check=True, cwd=ROOT)
        shutil.copy(kept, app)


def pins(source: Path) -> dict[str, str]:
    """Return the requirements of a source distribution's tests, by package.

    Args:
        source: the unpacked source distribution.
    """
    lines = (source / "requirements/test.txt").read_text().splitlines()
    found = {re.split(r"[\[<>=!~; ]", line)[0]: line.split("#")[0].strip() for line in lines}
    return {name: line for name, line in found.items() if name}


def fetch(version: str) -> Path:
    """Return the unpacked source distribution of a version of Celery.

    Raises:
        subprocess.CalledProcessError: PyPI does not have it, or cannot be reached.
    """
    place = CACHE / f"celery-{version}"
    if not place.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        download = [UV, "tool", "run", "pip", "download", "--quiet", "--no-binary", ":all:", "--no-deps"]
        subprocess.run([*download, "--dest", str(CACHE), f"celery=={version}"], check=True, cwd=CACHE)
        (archive,) = CACHE.glob(f"celery-{version}.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(CACHE, filter="data")
    return place
