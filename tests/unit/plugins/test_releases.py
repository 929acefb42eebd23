"""The releases of a host: what is recorded, what runs, what is removed; and the table of all hosts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celery_on_hosts.platform.plugins.filter.releases import releases_problems, releases_table
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.kept_files import KeptFiles
from ansible_collections.celery_on_hosts.platform.plugins.modules.supervisor_programs import keep, split

from tests.unit.modules import run_module

Run = Callable[..., subprocess.Popen[bytes]]


PLACES = ("root", "reports", "platform", "drained", "settings")


class Host:
    """The folders of a host."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "celery"
        self.reports = folder / "run"
        self.platform = folder / "platform.json"
        self.drained = folder / "celery.fact"
        self.settings = folder / "settings"
        for one in (self.reports, self.settings):
            one.mkdir()
        for name in ("releases", "deps"):
            (self.root / name).mkdir(parents=True)
        self.expect(worker="celery")

    def expect(self, **programs: str) -> None:
        """Write platform.json with these programs, by kind."""
        said = [{"program": program, "kind": kind} for kind, program in programs.items()]
        self.platform.write_text(json.dumps({"programs": said}))

    def unpack(self, *names: str, deps: str = "") -> None:
        """Make releases, each with packages of its own unless packages are named."""
        for name in names:
            (self.root / "releases" / name / "app").mkdir(parents=True)
            record = {"deps_id": deps or f"deps-{name}", "built_from": f"commit-{name}"}
            (self.root / "releases" / name / "release.json").write_text(json.dumps(record))
            (self.root / "deps" / record["deps_id"]).mkdir(exist_ok=True)

    def module(self, check: bool = False, **options: Any) -> dict[str, Any]:
        """Run the module on this host."""
        places = {name: str(getattr(self, name)) for name in PLACES}
        return run_module("releases", check=check, **places, **options)

    def deployed(self, *names: str) -> None:
        """Switch to releases one after the other, and record that each worked."""
        for name in names:
            self.module(current=name)
            self.module(worked=name)

    def tell(self, environment: str, **programs: str) -> None:
        """Write these settings, for all programs and for single ones, and remove any others."""
        for path in self.settings.glob("*.environment"):
            path.unlink()
        (self.settings / "environment").write_text(environment)
        (self.settings / "environment").chmod(0o640)
        for name, text in programs.items():
            (self.settings / f"{name}.environment").write_text(text)

    def keep(self, **programs: str) -> None:
        """Keep programs' files, as the module supervisor_programs does."""
        keep(
            str(self.root / "before/programs"),
            split("".join(f"[program:{n}]\n{t}\n" for n, t in programs.items()), "x"),
        )

    def told(self) -> dict[str, str]:
        """Return the settings."""
        return {path.name: path.read_text() for path in self.settings.iterdir()}

    def folders(self) -> tuple[set[str], set[str]]:
        """Return the names of releases and of packages that exist."""
        releases, deps = ({path.name for path in (self.root / name).iterdir()} for name in ("releases", "deps"))
        return releases, deps


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def run(host: Host) -> Iterator[Run]:
    """Return a function that starts a process of a release, as supervisord would."""
    started: list[subprocess.Popen[bytes]] = []

    def start(release: str, program: str = "", report: bool = False) -> subprocess.Popen[bytes]:
        folder = host.root / "releases" / release / "app"
        environment = {key: value for key, value in os.environ.items() if key != "CELERY_PROGRAM"}
        environment |= {"CELERY_PROGRAM": program} if program else {}
        process = subprocess.Popen(["sleep", "600"], cwd=folder, env=environment)
        started.append(process)
        while Path(f"/proc/{process.pid}/comm").read_text().strip() != "sleep":
            time.sleep(0.01)
        if report:
            said = {"pid": process.pid, "release": release, "connected": True}
            (host.reports / f"{program}.json").write_text(json.dumps(said))
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


# --- what is known ---------------------------------------------------------------------------------------------------


def test_a_host_without_releases_says_so(host: Host) -> None:
    said = host.module()
    assert (said["current"], said["previous"], said["worked"], said["releases"]) == ("", "", "", [])
    assert said["programs"] == {"celery": ""}
    assert not said["changed"]


def test_the_previous_is_the_last_other_that_worked(host: Host) -> None:
    host.unpack("a", "b", "c")
    host.deployed("a", "b")
    assert host.module()["previous"] == "a"
    host.deployed("a")
    said = host.module()
    assert (said["current"], said["previous"]) == ("a", "b"), "to and fro"
    host.deployed("c")
    assert host.module()["previous"] == "a"
    host.module(bad="a", reason="it is slow")
    assert host.module()["previous"] == "b", "not one that is bad"


def test_one_that_is_switched_to_has_not_worked_yet(host: Host) -> None:
    host.unpack("a", "b")
    host.deployed("a")
    assert host.module(current="b")["changed"]
    said = host.module(current="b")
    assert (said["current"], said["worked"], said["previous"], said["changed"]) == ("b", "a", "a", False)
    assert os.readlink(host.root / "current") == "releases/b"


def test_a_first_release_that_never_worked_is_not_rolled_back_to(host: Host) -> None:
    host.unpack("a", "b")
    host.module(current="a")
    said = host.module(current="b")
    assert (said["current"], said["worked"], said["previous"]) == ("b", "", "")
    host.deployed("b")
    assert host.module()["previous"] == ""


def test_a_release_that_is_not_there_cannot_be_made_current(host: Host) -> None:
    host.unpack("a")
    host.deployed("a")
    said = host.module(current="b")
    assert said["failed"]
    assert "no release b" in said["msg"]
    assert host.module()["current"] == "a"


def test_a_bad_one_is_known_with_its_reason_until_it_works(host: Host) -> None:
    host.unpack("a", "b")
    host.deployed("a")
    assert host.module(bad="b", reason="it dies")["changed"]
    assert not host.module(bad="b", reason="it dies")["changed"]
    assert {one["release"]: one["bad"] for one in host.module()["releases"]} == {"a": "", "b": "it dies"}
    host.deployed("b")
    assert {one["bad"] for one in host.module()["releases"]} == {""}


def test_what_a_release_was_checked_with_is_known_while_it_is_there(host: Host) -> None:
    host.unpack("a", "b")
    assert host.module(current="a", checked="a-1")["changed"]
    assert not host.module(current="a", checked="a-1")["changed"]
    assert host.module(current="a", checked="a-2")["changed"]
    assert {one["release"]: one["checked"] for one in host.module()["releases"]} == {"a": "a-2", "b": ""}
    shutil.rmtree(host.root / "releases/a")
    host.module(current="b", checked="b-2")
    assert json.loads((host.root / "releases.json").read_text())["checked"] == {"b": "b-2"}


def test_what_a_check_said_is_kept_until_the_next_one(host: Host) -> None:
    """A deployment that does not check the release again still prints it."""
    host.unpack("a", "b")
    early = {"weaknesses": [{"name": "task_acks_late", "found": "x"}]}
    assert host.module(current="a", checked="a-1", summary=f"printed\n{json.dumps(early)}")["changed"]
    assert not host.module(current="a", checked="a-1", summary=json.dumps(early))["changed"]
    assert not host.module(current="a", checked="a-1")["changed"], "it was not checked again"
    assert {one["release"]: one["summary"] for one in host.module()["releases"]} == {"a": early, "b": {}}
    assert host.module(current="a", checked="a-1", summary='{"weaknesses": []}')["changed"]
    assert host.module()["releases"][0]["summary"] == {"weaknesses": []}
    shutil.rmtree(host.root / "releases/a")
    host.module(current="b", checked="b-1", summary="{}")
    assert json.loads((host.root / "releases.json").read_text())["summaries"] == {"b": {}}


def test_a_dry_run_only_tells(host: Host) -> None:
    host.unpack("a", "b", "c")
    host.deployed("a", "b")
    assert host.module(check=True, current="a", bad="b", reason="no")["changed"]
    said = host.module(check=True, keep=1)
    assert [Path(path).name for path in said["removed"]] == ["c", "deps-c"]
    said = host.module()
    assert (said["current"], said["worked"], len(said["releases"])) == ("b", "b", 3)
    assert host.folders()[0] == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("wanted", "found"), [("previous", "a"), ("current", "b"), ("c", "c")], ids=["previous", "current", "by its id"]
)
def test_a_release_is_found(host: Host, wanted: str, found: str) -> None:
    host.unpack("a", "b", "c")
    host.deployed("a", "b")
    assert host.module(find=wanted)["found"] == found


def test_a_release_that_cannot_be_found_is_said_with_those_that_are_there(host: Host) -> None:
    assert "no previous release. There are: none" in host.module(find="previous")["msg"]
    host.unpack("a", "b")
    host.deployed("a")
    assert "no previous release. There are: a, b" in host.module(find="previous")["msg"]
    assert "no release x. There are: a, b" in host.module(find="x")["msg"]


def test_a_bad_release_is_found_only_where_that_is_asked_for(host: Host) -> None:
    host.unpack("a")
    host.module(bad="a", reason="it dies")
    assert "a is marked bad since 20" in host.module(find="a")["msg"]
    assert host.module(find="a", again=True)["found"] == "a"


def test_a_release_is_bad_only_with_the_settings_that_it_failed_with(host: Host) -> None:
    """The settings may have been the reason."""
    host.unpack("a")
    host.module(bad="a", reason="it dies", configuration="wrong")
    assert "marked bad since" in host.module(find="a", configuration="wrong")["msg"]
    assert host.module(find="a", configuration="right")["found"] == "a"
    assert host.module(bad="a", reason="it dies", configuration="right")["changed"], "nor with these"
    assert "marked bad since" in host.module(find="a", configuration="right")["msg"]


# --- what was there before ------------------------------------------------------------------------------------------


def test_settings_and_programs_of_before_come_back(host: Host) -> None:
    host.unpack("a", "b")
    host.deployed("a")
    host.tell(environment="X=1", celery="old", celery_low="goes")
    (host.settings / "own.pem").write_text("a user's")
    assert host.module(current="b", trial=True)["unproven"]
    host.keep(celery="old", celery_low="goes")
    certificate = host.root / "certificate"
    certificate.write_text("old")
    KeptFiles(host.root / "before/files").keep(str(certificate))
    certificate.write_text("new")
    host.tell(environment="X=2", celery="new", celery_io="comes")
    said = host.module(current="a", bad="b", reason="it dies", back=True)
    assert (said["changed"], said["current"], said["unproven"]) == (True, "a", False)
    assert said["content"] == "[program:celery]\nold\n[program:celery_low]\ngoes\n"
    assert host.told() == {
        "environment": "X=1",
        "celery.environment": "old",
        "celery_low.environment": "goes",
        "own.pem": "a user's",
    }
    assert certificate.read_text() == "old"
    assert (host.settings / "environment").stat().st_mode & 0o777 == 0o640
    again = host.module(current="a", back=True)
    assert (again["content"], again["changed"]) == ("", False)


def test_programs_come_back_where_no_settings_changed(host: Host) -> None:
    host.unpack("a")
    host.deployed("a")
    host.tell(environment="X=1", celery="own")
    host.keep(celery="old")
    said = host.module(current="a", back=True)
    assert (said["content"], said["changed"]) == ("[program:celery]\nold\n", True)
    assert host.told() == {"environment": "X=1", "celery.environment": "own"}


def test_those_that_worked_last_stay_until_something_works(host: Host) -> None:
    host.unpack("a", "b", "c")
    host.deployed("a")
    host.tell(environment="X=1")
    host.module(current="b", trial=True)  # and interrupted
    host.tell(environment="X=2")
    assert host.module()["unproven"]
    host.module(current="c", trial=True)
    host.tell(environment="X=3")
    host.module(current="a", back=True)
    assert host.told()["environment"] == "X=1"


@pytest.mark.parametrize("after", [{"worked": "b"}, {"current": "a"}], ids=["it works", "another is made current"])
def test_what_was_there_before_is_forgotten(host: Host, after: dict[str, Any]) -> None:
    host.unpack("a", "b")
    host.deployed("a")
    host.tell(environment="X=1")
    host.module(current="b", trial=True)
    host.keep(celery="old")
    host.tell(environment="X=2")
    said = host.module(**after)
    assert (said["changed"], said["unproven"]) == (True, False)
    assert host.module(back=True)["content"] == ""
    assert host.told()["environment"] == "X=2"
    assert not (host.root / "before").exists()


def test_what_was_there_before_is_for_root_alone(host: Host) -> None:
    host.unpack("a")
    host.tell(environment="X=1")
    host.module(current="a", trial=True)
    assert (host.root / "before").stat().st_mode & 0o777 == 0o700


# --- what runs -------------------------------------------------------------------------------------------------------


def test_programs_say_what_they_run_whatever_is_current(host: Host, run: Run) -> None:
    host.unpack("a", "b")
    host.deployed("b")
    host.expect(worker="celery", beat="celerybeat", web="web", flower="flower")
    run("a", "celery", report=True)
    run("b", "web")
    assert host.module()["programs"] == {"celery": "a", "celerybeat": "", "web": "b"}


def test_a_host_whose_workers_are_out_of_service_is_known(host: Host) -> None:
    assert not host.module()["drained"]
    host.drained.write_text('{"drained": true}')
    said = host.module()
    assert said["drained"]
    assert "! a: its workers are out of service (make undrain HOST=a)" in releases_table({"a": said}).splitlines()


def test_a_worker_that_is_handed_over_is_told_from_its_successor(host: Host, run: Run) -> None:
    host.unpack("a", "b")
    old = run("a", "celery", report=True)
    while time.clock_gettime(time.CLOCK_BOOTTIME) * 100 < float(_started(old.pid)) + 2:
        time.sleep(0.01)
    run("b", "celery", report=True)
    assert host.module()["programs"] == {"celery": "b", "celery (leaving)": "a"}


def _started(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


# --- what goes -------------------------------------------------------------------------------------------------------


def test_the_last_that_worked_stay_with_their_packages(host: Host) -> None:
    host.unpack("a", "b", "c", "d")
    host.unpack("e", deps="deps-d")
    host.deployed("a", "b", "d", "e")
    said = host.module(keep=3)
    assert said["changed"]
    assert host.folders() == ({"b", "d", "e"}, {"deps-b", "deps-d"})
    assert not host.module(keep=3)["changed"]


def test_the_current_and_the_previous_one_stay_always(host: Host) -> None:
    host.unpack("a", "b", "c")
    host.deployed("a", "b", "c")
    host.module(keep=0)
    assert host.folders()[0] == {"b", "c"}


def test_what_a_process_runs_stays(host: Host, run: Run) -> None:
    host.unpack("a", "b", "c", "d", "e")
    host.deployed("a", "b", "c", "d", "e")
    shell, worker = run("a"), run("b", "celery", report=True)
    host.module(keep=1)
    assert host.folders() == ({"a", "b", "d", "e"}, {"deps-a", "deps-b", "deps-d", "deps-e"})
    for process in (shell, worker):
        process.kill()
        process.wait()
    (host.reports / "celery.json").unlink()
    host.module(keep=1)
    assert host.folders() == ({"d", "e"}, {"deps-d", "deps-e"})


def test_packages_stay_while_a_release_does_not_say_what_it_needs(host: Host) -> None:
    host.unpack("a", "b", "c")
    host.deployed("a", "b", "c")
    (host.root / "releases/c/release.json").unlink()
    host.module(keep=1)
    assert host.folders() == ({"b", "c"}, {"deps-a", "deps-b", "deps-c"})


# --- the table -------------------------------------------------------------------------------------------------------


def answer(current: str, previous: str = "", **programs: str) -> dict[str, Any]:
    """Return the module's result for a host with two releases, one of them bad."""
    known = {"built_from": "1a2b3c4", "worked": "2026-01-31T12:00:00Z"}
    releases = [{"release": "new", "bad": "", **known}, {"release": "old", "bad": "it dies", **known}]
    return {"current": current, "previous": previous, "releases": releases, "programs": programs}


def test_the_table_has_a_line_for_each_release_of_each_host() -> None:
    lines = releases_table({"one": answer("new", "old", celery="new", web="new"), "two": answer("new")}).splitlines()
    assert [line.split() for line in lines[:4]] == [
        ["HOST", "RELEASE", "BUILT", "FROM", "WORKED", "IS", "RUN", "BY"],
        ["one", "new", "1a2b3c4", "2026-01-31T12:00:00Z", "current", "celery,", "web"],
        ["one", "old", "1a2b3c4", "2026-01-31T12:00:00Z", "previous", "bad", "-"],
        ["two", "new", "1a2b3c4", "2026-01-31T12:00:00Z", "current", "-"],
    ]
    assert lines[6:] == ["! one: old is bad: it dies", "! two: old is bad: it dies"]


def test_one_release_everywhere_is_no_problem() -> None:
    leaving = answer("new", **{"celery": "new", "celery (leaving)": "old"})
    assert releases_problems({"one": leaving, "two": answer("new", celery="new")}) == []


@pytest.mark.parametrize(
    ("results", "problem"),
    [
        (
            {"one": answer("new", celery="new", web="old")},
            "not one release: new: current on one, celery on one; old: web on one",
        ),
        (
            {"one": answer("new", celery="new"), "two": answer("old", celery="old")},
            "not one release: new: current on one, celery on one; old: current on two, celery on two",
        ),
        ({"one": answer("new", celery="")}, "one: celery does not run (`make status` says more)"),
        ({"one": {"unreachable": True}}, "one: unreachable"),
        ({"one": {"failed": True, "msg": "no Python"}}, "one: no Python"),
    ],
    ids=["mixed programs", "mixed hosts", "away", "unreachable", "no answer"],
)
def test_what_is_not_one_release_is_said(results: dict[str, Any], problem: str) -> None:
    assert releases_problems(results) == [problem]
    assert f"✗ {problem}" in releases_table(results)
