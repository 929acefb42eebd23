"""Packages for the hosts' Python."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.build import build
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.request import ReleaseError, Request

from tests.unit.plugins.release.support import HERE, make_wheel, read


def test_what_was_compiled_here_is_told(request_: Request, index: Path) -> None:
    tag = f"cp{HERE.replace('.', '')}-cp{HERE.replace('.', '')}-linux_x86_64"
    make_wheel(index, "compiled", tag=tag)
    (request_.source / "requirements.txt").write_text("celery==5.7.0\nvine==1.0\ncompiled==1.0\n")
    assert "Compiled on this controller" in build(request_).warnings[0]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_wheels_are_for_the_hosts_kind_of_machine(request_: Request, machine: str) -> None:
    (request_.source / "requirements.txt").write_text("celery==5.7.0\nvine==1.0\nnative==1.0\n")
    result = build(replace(request_, python_version="3.13", platform=machine))
    path = f"{result.deps_id}/lib/python3.13/site-packages/native.py"
    assert read(result.deps_archive, path) == f"machine = '{machine}'\n"


def test_the_kind_of_machine_names_the_release(request_: Request) -> None:
    assert build(request_).release_id != build(replace(request_, platform="aarch64")).release_id


def test_no_wheel_for_the_hosts_kind_of_machine(request_: Request, index: Path) -> None:
    (request_.source / "requirements.txt").write_text("celery==5.7.0\nfast==2.0\n")
    with pytest.raises(ReleaseError, match=r"fast==2\.0 has no wheel for Python 3\.13 on aarch64"):
        build(replace(request_, python_version="3.13", platform="aarch64"))


def test_what_would_be_compiled_for_another_kind_of_machine_is_refused(
    request_: Request, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    tag = f"cp{HERE.replace('.', '')}-cp{HERE.replace('.', '')}-linux_x86_64"
    make_wheel(index, "compiled", tag=tag)
    (request_.source / "requirements.txt").write_text("celery==5.7.0\nvine==1.0\ncompiled==1.0\n")
    with pytest.raises(ReleaseError, match="compiled has no wheel for x86_64: it would be compiled"):
        build(request_)


def test_no_wheel_for_the_hosts_python(request_: Request) -> None:
    (request_.source / "requirements.txt").write_text("celery==5.7.0\nfast==1.0\n")
    build(replace(request_, python_version="3.11"))
    with pytest.raises(ReleaseError, match=r"fast==1\.0 has no wheel for Python 3\.13"):
        build(replace(request_, python_version="3.13"))
