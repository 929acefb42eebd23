"""Packages are installed, and what is in the way is said: real apt-get, with a host of a temporary folder."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .modules import run_module
from .test_apt_lists import apt  # noqa: F401  # a fixture

SHA256_OF_X = hashlib.sha256(b"x").hexdigest()
POLICY = """#!/bin/sh
exit 0
"""


@pytest.fixture
def host(apt: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: F811
    """The folders of apt, with lists that are fresh and a dpkg that only notes whether services may start."""
    assert "failed" not in run_module("apt_lists", packages=["there"])
    monkeypatch.setattr("ansible_collections.celery_on_hosts.platform.plugins.module_utils.apt.PAUSE", 0.05)
    return apt


def install(host: Path, *names: str, **arguments: Any) -> dict[str, Any]:
    """Run the module."""
    return run_module("packages", packages=list(names), policy=f"{host}/policy-rc.d", **arguments)


def fake(host: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a script of sh in the place of apt-get."""
    (host / "bin").mkdir()
    (host / "bin/apt-get").write_text(f"#!/bin/sh\n{script}\n")
    (host / "bin/apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{host}/bin:{os.environ['PATH']}")


def test_a_dry_run_tells_whether_something_would_be_installed(host: Path) -> None:
    assert install(host, "there", check=True)["changed"]
    (host / "status").write_text("Package: there\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n\n")
    assert not install(host, "there", check=True)["changed"]
    assert not (host / "policy-rc.d").exists()


def test_what_a_maintainer_script_says_in_latin_1_can_be_sent(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(
        host,
        monkeypatch,
        "printf 'Cluster l\\344uft\\n0 upgraded, 1 newly installed, 0 to remove and 0 not upgraded.\\n'",
    )
    said = install(host, "there")
    assert said["changed"]
    json.dumps(said, ensure_ascii=False).encode()
    assert "Cluster l\ufffduft" in said["stdout"]


def test_no_service_starts_and_what_was_there_is_put_back(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = host / "policy-rc.d"
    fake(host, monkeypatch, f'[ "$2" = check ] || {policy}; echo $? $LC_ALL $DEBIAN_FRONTEND')
    assert install(host, "there")["stdout"] == "101 C.UTF-8 noninteractive\n"
    assert not policy.exists()
    policy.write_text(POLICY)
    policy.chmod(0o750)
    assert install(host, "there")["stdout"].startswith("101 ")
    assert policy.read_text() == POLICY
    assert stat.S_IMODE(policy.stat().st_mode) == 0o750


def test_an_installation_that_was_killed_leaves_no_policy(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = host / "policy-rc.d"
    policy.write_text(POLICY)
    fake(host, monkeypatch, f'[ "$2" = check ] || cp {policy} {host}/ours')
    install(host, "there")
    (host / "ours").rename(policy)
    policy.with_name("policy-rc.d.before-celery").write_text(POLICY)
    install(host, "there")
    assert policy.read_text() == POLICY


def test_a_held_package_is_named_with_what_to_do(host: Path) -> None:
    (host / "status").write_text("Package: there\nStatus: hold ok not-installed\nArchitecture: all\n\n")
    said = install(host, "there", check=True)
    assert said["failed"], said
    assert f"An administrator holds there ({host}/status has it)." in said["msg"]
    assert "run `apt-mark unhold there` on the host" in said["msg"]


def test_a_pinned_package_is_named_with_the_file(host: Path) -> None:
    (host / "etc/preferences.d").mkdir()
    (host / "etc/preferences.d/old").write_text(
        "# no\nPackage: other\nPin: version 2\nPin-Priority: 1\n\n# ours\n"
        "Explanation: why\nPackage: the*\nPin: release *\nPin-Priority: -1\n"
    )
    said = install(host, "there")
    assert said["failed"], said
    assert f"{host}/etc/preferences.d/old:8: Pin: release *, Pin-Priority: -1 is about there." in said["msg"]
    assert "correct it" in said["msg"]


def test_an_interrupted_dpkg_is_named_with_what_to_do(host: Path) -> None:
    (host / "updates").mkdir()
    (host / "updates/0001").touch()
    said = install(host, "there")
    assert said["failed"], said
    assert f"{host}/updates has what dpkg did not finish.\nWhat to do: run `dpkg --configure -a`" in said["msg"]


LOCKED = """
echo "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 17 (unattended-upgr)" >&2
exit 100
"""


def test_another_apt_is_waited_for_and_said(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(
        host, monkeypatch, f"[ -e {host}/tried ] || {{ touch {host}/tried; {LOCKED.strip().replace(chr(10), '; ')}; }}"
    )
    said = install(host, "there")
    assert "failed" not in said
    assert said["waited"] == "process 17 (unattended-upgr), which held apt's lock, for 0 s"


def test_another_apt_is_not_waited_for_for_ever(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(host, monkeypatch, LOCKED)
    said = install(host, "there", timeout=0)
    assert said["failed"]
    assert "Waited for process 17 (unattended-upgr)" in said["msg"]
    assert "let it end, and deploy again" in said["msg"]


HOLD = """
import fcntl, sys, time
with open(f"{sys.argv[1]}/lock-frontend", "w") as lock:
    fcntl.lockf(lock, fcntl.LOCK_EX)
    open(f"{sys.argv[1]}/held", "w")
    time.sleep(1.5)
"""


def test_an_apt_that_comes_between_the_look_and_the_installation_is_waited_for(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real apt-get, which installs with a dpkg that does nothing. Another process has the lock meanwhile."""
    (host / "good/there.deb").write_bytes(b"x")
    stanza = f"Package: there\nVersion: 2\nArchitecture: all\nFilename: ./there.deb\nSize: 1\nSHA256: {SHA256_OF_X}\n"
    (host / "good/Packages").write_text(stanza)
    with (host / "apt.conf").open("a") as file:
        file.write('Dir::Bin::dpkg "/bin/true";\n')
    assert "failed" not in run_module("apt_lists", packages=["there"])
    (host / "hold").write_text(HOLD)
    fake(
        host,
        monkeypatch,
        f'/usr/bin/apt-get "$@"; status=$?; [ "$2" != check ] || {{ rm -f {host}/held; python3 {host}/hold {host} & '
        f"while [ ! -e {host}/held ]; do sleep 0.05; done; }}; exit $status",
    )
    said = install(host, "there")
    assert "failed" not in said, said["msg"]
    assert said["changed"]
    assert re.fullmatch(r"process \d+ \(python3\), which held apt's lock", said["waited"]), said
    assert install(host, "there", timeout=0)["failed"], "the holder is there again, and nobody waits"


def test_the_proxy_is_told_to_apt_and_not_to_the_processes(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(host, monkeypatch, f'[ "$2" = check ] || {{ echo "$@" >{host}/arguments; cat "$3"; }}')
    said = install(host, "there", proxy="http://me:secret@proxy:3128")
    assert "secret" not in (host / "arguments").read_text()
    assert said["stdout"].count("Proxy") == 2


def test_the_installation_goes_on_when_nobody_waits_for_it(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a deployment is cut off: the module is killed, apt ends, and services may start again."""
    fake(host, monkeypatch, f'[ "$2" = check ] || {{ touch {host}/begun; sleep 0.7; echo said; touch {host}/ended; }}')
    process = os.fork()
    if not process:
        os.setsid()
        install(host, "there")
        os._exit(0)
    until((host / "begun").exists)
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    assert (host / "policy-rc.d").exists()
    until((host / "ended").exists)
    until(lambda: not (host / "policy-rc.d").exists())


def until(true: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)
