"""A package index and an application for the release builder, with real uv: no network."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.request import Request

from tests.unit.plugins.release.support import HERE, TASKS, UV, make_wheel


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of wheels, in place of the package index."""
    folder = tmp_path_factory.mktemp("index")
    make_wheel(folder, "celery", "5.7.0", requires="vine", code="class Celery:\n    def __init__(self, *a, **k): ...\n")
    make_wheel(folder, "celery", "5.6.0", requires="vine")
    make_wheel(folder, "vine")
    make_wheel(folder, "redis", "8.1.0")
    make_wheel(folder, "redis", "7.0.0")
    make_wheel(folder, "gunicorn")
    make_wheel(folder, "flower", requires="celery")
    make_wheel(folder, "fast", tag="cp311-cp311-manylinux_2_17_x86_64")
    make_wheel(folder, "fast", tag="cp313-cp313-manylinux_2_17_x86_64", version="2.0")
    for machine in ("x86_64", "aarch64"):
        make_wheel(folder, "native", tag=f"cp313-abi3-manylinux_2_28_{machine}", code=f"machine = '{machine}'\n")
    return folder


@pytest.fixture
def request_(tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> Request:
    """Return a request to build a plain tasks.py with a requirements.txt and a runtime."""
    config = tmp_path / "uv.toml"
    config.write_text(f'no-index = true\nfind-links = ["{index}"]\ncache-dir = "{tmp_path}/uv"\n')
    monkeypatch.setenv("UV_CONFIG_FILE", str(config))
    source = tmp_path / "app"
    source.mkdir()
    (source / "tasks.py").write_text(TASKS)
    (source / "requirements.txt").write_text("celery==5.7.0\n")
    runtime = tmp_path / "runtime"
    (runtime / "celery_on_hosts").mkdir(parents=True)
    (runtime / "celery_on_hosts" / "__init__.py").write_text("")
    (runtime / "requirements.lock").write_text("redis==8.1.0\ngunicorn==1.0\n")
    return Request(source=source, output=tmp_path / "cache", app="tasks", python_version=HERE, runtime=runtime, uv=UV)
