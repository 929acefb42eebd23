"""Fetch the integration suite of Celery or kombu, and make an application of it that the platform deploys.

Nothing of a suite enters the repository: it comes from the source distribution on PyPI, and goes to .cache/conformance.
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
SUITES = ("celery", "kombu")
# What of a suite is run, by broker: kombu's has tests of services that the platform does not have, too.
TESTS: dict[str, dict[str, tuple[str, ...]]] = {
    "celery": {"rabbitmq": ("t/integration",), "redis": ("t/integration",)},
    "kombu": {
        "rabbitmq": ("t/integration/test_py_amqp.py",),
        "redis": ("t/integration/test_redis.py", "t/integration/test_redis_brpop_qos.py"),
    },
}
# An application that has nothing: the suite makes applications of its own.
APP = """from celery import Celery

app = Celery("conformance", broker="memory://")
"""


def locked(package: str) -> str:
    """Return the version of a package that the tasks application is locked to.

    Raises:
        LookupError: the lock does not name the package.
    """
    found = re.search(rf"^{package}==(\S+)", (ROOT / "app/requirements.lock").read_text(), re.MULTILINE)
    if not found:
        raise LookupError(f"app/requirements.lock names no {package}")
    return found[1]


@dataclass(frozen=True)
class Suite:
    """The suite of a version of Celery or kombu, and its place on a lab host.

    Args:
        package: celery or kombu.
        version: of the package.
        broker: rabbitmq or redis.
    """

    package: str
    version: str
    broker: str

    @property
    def folder(self) -> Path:
        """Where everything of this suite is."""
        return CACHE / f"{self.package}-{self.version}-{self.broker}"

    @property
    def inventory(self) -> Path:
        """The inventory of its lab host."""
        return self.folder / "inventory"

    def prepare(self) -> None:
        """Fetch the suite and write its application and inventory, unless they are there.

        Raises:
            subprocess.CalledProcessError: a package cannot be had.
        """
        source = fetch(self.package, self.version)
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
            celery = self.version if self.package == "celery" else locked("celery")
            pinned = [] if self.package == "celery" else [f"{self.package}=={self.version}"]
            asked.write_text("\n".join([f"celery[{EXTRAS}]=={celery}", *pinned, *wanted, ""]))
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


def fetch(package: str, version: str) -> Path:
    """Return the unpacked source distribution of a version of a package.

    Raises:
        subprocess.CalledProcessError: PyPI does not have it, or cannot be reached.
    """
    place = CACHE / f"{package}-{version}"
    if not place.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        download = [UV, "tool", "run", "pip", "download", "--quiet", "--no-binary", ":all:", "--no-deps"]
        subprocess.run([*download, "--dest", str(CACHE), f"{package}=={version}"], check=True, cwd=CACHE)
        (archive,) = CACHE.glob(f"{package}-{version}.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(CACHE, filter="data")
    return place
