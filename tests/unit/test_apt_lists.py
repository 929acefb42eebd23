"""apt's lists are refreshed as far as they can be: real apt-get, with sources of a temporary folder."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path

import pytest

from .modules import run_module

Refresh = Callable[..., dict[str, object]]


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """apt's folders, with one good source that has one package."""
    for folder in ("etc/sources.list.d", "etc/apt.conf.d", "state/lists/partial", "cache/archives/partial", "good"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "apt.conf").write_text(
        f'Dir::Etc "{tmp_path}/etc"; Dir::State "{tmp_path}/state"; Dir::Cache "{tmp_path}/cache";\n'
        f'Dir::State::status "{tmp_path}/status"; APT::Sandbox::User "";\n'
    )
    (tmp_path / "status").touch()
    (tmp_path / "good/Packages").write_text(
        "\n\n".join(
            f"Package: {name}\nVersion: 1\nArchitecture: all\nFilename: ./{name}.deb\nSize: 1\nMD5sum: 0{more}"
            for name, more in {"there": "", "needy": "\nDepends: gone"}.items()
        )
    )
    (tmp_path / "etc/sources.list").write_text(f"deb [trusted=yes] file:{tmp_path}/good ./\n")
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    monkeypatch.setenv("LC_ALL", "de_DE.ISO-8859-1")
    return tmp_path


def test_a_dead_source_is_named_and_the_others_are_used(apt: Path) -> None:
    """On a closed port of this machine nobody answers."""
    vendor = apt / "etc/sources.list.d/vendor.list"
    vendor.write_text("# a comment, http://127.0.0.1:9/\ndeb [trusted=yes] http://127.0.0.1:9/vendor stable main\n")
    said = run_module("apt_lists", packages=["there"])
    assert "failed" not in said
    (problem,) = said["problems"]
    assert problem.startswith(f"{vendor}:2: http://127.0.0.1:9/vendor/dists/stable/InRelease Could not connect")
    assert said["changed"] is False


def test_a_source_of_the_new_format_is_named_too(apt: Path) -> None:
    vendor = apt / "etc/sources.list.d/vendor.sources"
    vendor.write_text("Types: deb\nURIs: http://127.0.0.1:9/vendor/\nSuites: stable\nComponents: main\nTrusted: yes\n")
    assert str(run_module("apt_lists", packages=["there"])["problems"]).startswith(f"['{vendor}:2: ")


def test_a_package_that_no_source_has_is_said_with_what_could_not_be_refreshed(apt: Path) -> None:
    (apt / "etc/sources.list.d/vendor.list").write_text("deb http://127.0.0.1:9/vendor stable main\n")
    said = run_module("apt_lists", packages=["there", "nowhere"])
    assert said["failed"]
    assert "apt cannot install there, nowhere:\n  E: Unable to locate package nowhere" in said["msg"]
    assert "vendor.list:1: http://127.0.0.1:9/vendor" in said["msg"]
    assert "What to do:" in said["msg"]


def test_a_package_that_the_application_names_is_the_variables_fault(apt: Path) -> None:
    said = run_module("apt_lists", packages=["there", "nowhere"], application=["nowhere"])
    assert "correct celery_packages, which names nowhere" in said["msg"]
    assert "correct celery_packages" not in run_module("apt_lists", packages=["there", "nowhere"])["msg"]


def test_a_package_whose_dependency_is_missing_is_said_with_it(apt: Path) -> None:
    assert "gone" in run_module("apt_lists", packages=["needy"])["msg"]


def test_a_source_that_cannot_be_read_is_said_in_the_words_of_apt(apt: Path) -> None:
    (apt / "etc/sources.list.d/odd.list").write_text("deb nonsense\n")
    said = run_module("apt_lists", packages=["there"])
    assert said["failed"]
    assert "odd.list" in said["msg"]


def test_another_apt_is_waited_for(apt: Path) -> None:
    """For as long as is asked for."""
    with (apt / "state/lists/lock").open("w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        # fcntl's locks belong to a process: apt-get, another process, finds the lock taken
        assert "lock" in str(run_module("apt_lists", packages=["there"], timeout=1)["problems"])
