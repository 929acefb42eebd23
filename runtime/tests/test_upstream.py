"""What the runtime replaces in Celery is guarded against versions that it does not know."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from conftest import RUNTIME

from celery_on_hosts import couplings, upstream
from celery_on_hosts.upstream import Coupling, Need, UnknownUpstream


def library(version: str, **attributes: Any) -> SimpleNamespace:
    return SimpleNamespace(__version__=version, **attributes)


class Pool:
    """A class of a library."""

    def flush(self, force: bool = False) -> None:
        self._cache = {}


FLUSH = Need("lib:Pool.flush", takes=("self",), uses=("_cache",))


@pytest.fixture
def installed(monkeypatch):
    """Install a library of this version; the runtime was tested with 1.0."""

    def install(version: str, **attributes: Any) -> None:
        modules = {"lib": library(version, **attributes)}
        monkeypatch.setattr(upstream.importlib, "import_module", modules.__getitem__)

    monkeypatch.setattr(upstream, "TESTED", {"lib": ("1.0",)})
    monkeypatch.setattr(upstream, "left_out", {})
    return install


def coupling(*needs: Need, required: bool = False) -> Coupling:
    return Coupling("keeping jobs", "pool", "tasks run twice", needs or (FLUSH,), "lib 3", required)


def test_with_a_tested_version_nothing_is_looked_at(installed):
    installed("1.0")
    assert coupling().fits()
    assert upstream.left_out == {}


def test_with_an_unknown_version_of_the_same_shape_it_is_made(installed):
    installed("2.0", Pool=Pool)
    assert coupling(required=True).fits()
    assert upstream.left_out == {}


class Other:
    def __init__(self) -> None:
        self.jobs = {}

    def flush(self, mode: str, now: bool) -> None:
        self.jobs = {}


@pytest.mark.parametrize(
    ("need", "words"),
    [
        (Need("lib:Pool.drain"), "there is no lib:Pool.drain"),
        (Need("lib:Gone.flush"), "there is no lib:Gone.flush"),
        (Need("lib:Pool.flush", takes=("self", "force")), r"takes \(self, mode, now\), not \(self, force, …\)"),
        (FLUSH, "lib:Pool.flush knows no _cache"),
    ],
)
def test_with_another_shape_it_is_left_out_in_words(installed, caplog, need, words):
    installed("2.0", Pool=Other)
    assert not coupling(need).fits()
    (text,) = upstream.left_out.values()
    with caplog.at_level(logging.WARNING):
        upstream.warn_of_left_out()
    assert caplog.messages == [text]
    assert text.startswith("keeping jobs: not with lib 2.0, where ")
    assert text.endswith("Without it tasks run twice. Lock a version that was tested (lib 1.0), or deploy with a newer "
                         "celery_on_hosts.")  # fmt: skip
    with pytest.raises(UnknownUpstream, match=words):
        coupling(need, required=True).fits()


def test_an_older_version_need_not_have_what_came_later(installed):
    installed("0.9", Pool=Other)
    assert coupling(Need("lib:Pool.drain", since="1.0")).fits()
    installed("2.0", Pool=Other)
    assert not coupling(Need("lib:Pool.drain", since="1.0")).fits()


def test_a_replacement_is_made_once():
    class Owner:
        def name(self) -> str:
            return "theirs"

    for _ in range(2):
        upstream.replace(Owner, "name", lambda original: lambda self: f"ours over {original(self)}")
    assert Owner().name() == "ours over theirs"


@pytest.mark.parametrize("need", [need for coupling in couplings.ALL for need in coupling.needs], ids=lambda n: n.path)
def test_the_table_is_true_of_the_installed_versions(need):
    assert need.lacking() == ""


def test_every_coupling_says_what_it_is_for_and_where():
    for one in couplings.ALL:
        assert one.needs and one.why and one.retired_by, one.name
        for module in one.module.split(", "):
            assert (RUNTIME / "celery_on_hosts" / f"{module.replace('.', '/')}.py").exists(), one.name
    assert len({one.name for one in couplings.ALL}) == len(couplings.ALL)


@pytest.fixture
def celery_9(platform, monkeypatch):
    """A Celery that nobody has tried, without the function that gives delays their routing keys."""
    platform()
    monkeypatch.setattr(upstream, "left_out", {})
    monkeypatch.setattr("celery.__version__", "9.0.0")
    monkeypatch.delattr("celery.app.base.calculate_routing_key", raising=False)


def test_an_application_runs_without_what_does_not_fit(celery_9):
    app = Celery("x", set_as_current=False)
    assert app.conf.task_acks_late
    (text,) = upstream.left_out.values()
    assert text.startswith("delays of less than a second on RabbitMQ: not with celery 9.0.0, where there is no celery.")


def test_an_application_does_not_run_without_its_safe_settings(celery_9, monkeypatch):
    monkeypatch.delattr("celery.utils.collections.ChainMap.add_defaults")
    with pytest.raises(UnknownUpstream, match="none of the platform's safe defaults"):
        _ = Celery("x", set_as_current=False).conf.task_acks_late


UNKNOWN = """
import celery, sys
from celery.app import base
celery.__version__ = "9.0.0"
vars(base).pop("calculate_routing_key", None)
from celery_on_hosts.check.command import main
sys.exit(main(["--app", "tasks", "--json"]))
"""


@pytest.mark.parametrize(
    ("broken", "code", "found"),
    [
        ("", 0, ("warnings", "delays of less than a second on RabbitMQ")),
        ("from kombu.transport import pyamqp; del pyamqp.SSLTransport; import kombu; kombu.__version__ = '9'\n", 1,
         ("errors", "confirms from RabbitMQ that come in time or raise")),
    ],
)  # fmt: skip
def test_the_check_of_a_release_says_so(platform, app_dir, python, broken, code, found):
    platform()
    done = python(app_dir(tasks="from celery import Celery\napp = Celery()\n"), "-c", broken + UNKNOWN)
    assert done.returncode == code, done.stderr
    kind, words = found
    assert any(text.startswith(words) for text in json.loads(done.stdout)[kind])


@pytest.mark.parametrize("library", upstream.TESTED)
def test_each_tested_version_is_in_a_lock(library):
    locks = [*(RUNTIME / "tests/versions").glob("*.lock"), RUNTIME.parent / "app/requirements-dev.lock"]
    found = {line.split("==")[1].split()[0] for lock in locks for line in lock.read_text().splitlines()
             if line.startswith(f"{library}==")}  # fmt: skip
    assert found == {*upstream.TESTED[library]}
