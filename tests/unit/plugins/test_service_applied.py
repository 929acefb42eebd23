"""A service runs with the present content of its files, also after an interrupted run.

systemctl is a script that keeps its state in files.
"""

from __future__ import annotations

import io
import json
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import basic
from ansible_collections.celery_on_hosts.platform.plugins.module_utils import block, originals
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.systemd import address
from ansible_collections.celery_on_hosts.platform.plugins.modules import service_applied

SYSTEMCTL = """#!/bin/sh
cd {folder}
echo "$*" >> calls
case "$1" in
  show) cat state 2>/dev/null ;;
  start|restart)
    [ ! -e broken ] || {{ echo "Job failed"; exit 1; }}
    sed -i 's/ActiveState=.*/ActiveState=active/' state ;;
  stop) sed -i 's/ActiveState=.*/ActiveState=inactive/' state ;;
  enable) sed -i 's/UnitFileState=.*/UnitFileState=enabled/' state ;;
  daemon-reload) sed -i 's/NeedDaemonReload=.*/NeedDaemonReload=no/' state; [ ! -e new ] || cp new state ;;
esac
"""
STATE = "ActiveState={0}\nUnitFileState={1}\nNeedDaemonReload={2}\nLoadState={3}\n"
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a fake systemctl and journalctl, and the configuration of a stopped service."""
    for name, text in {
        "systemctl": SYSTEMCTL.format(folder=tmp_path),
        "journalctl": "#!/bin/sh\necho bad port\n",
    }.items():
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    (tmp_path / "state").write_text(STATE.format("inactive", "disabled", "no", "loaded"))
    (tmp_path / "demo.conf").write_text("port 1\n")
    return tmp_path


@pytest.fixture
def run(host: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs the module, and returns its result and the calls of systemctl except `show`."""

    def call(check: bool = False, **arguments: Any) -> dict[str, Any]:
        given = {"name": "demo", "files": [f"{host}/demo.conf"], "stamps": f"{host}/stamps", **arguments}
        payload = {"ANSIBLE_MODULE_ARGS": {**given, "_ansible_check_mode": check}}
        monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps(payload).encode())
        monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
        monkeypatch.setattr(sys, "stdin", io.StringIO(""))
        (host / "calls").unlink(missing_ok=True)
        with pytest.raises(SystemExit):
            service_applied.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        calls = (host / "calls").read_text().splitlines() if (host / "calls").exists() else []
        return {**result, "calls": [item for item in calls if not item.startswith("show")], "all_calls": calls}

    return call


def test_first_run_starts_and_enables(run: Run) -> None:
    assert run()["calls"] == ["enable --quiet demo.service", "start demo.service"]


def test_nothing_to_do_costs_one_call(run: Run) -> None:
    run()
    result = run()
    assert not result["changed"]
    assert len(result["all_calls"]) == 1


@pytest.mark.parametrize("action", ["restart", "reload"])
def test_changed_file(run: Run, host: Path, action: str) -> None:
    run()
    (host / "demo.conf").write_text("port 2\n")
    result = run(on_change=action)
    assert result["calls"] == [f"{action} demo.service"]
    assert result["changed_files"] == [f"{host}/demo.conf"]
    assert not run(on_change=action)["changed"]


def test_mode_counts_and_so_does_what_is_in_folders(run: Run, host: Path) -> None:
    (host / "conf.d").mkdir()
    run(files=[f"{host}/conf.d", f"{host}/demo.conf"])
    (host / "demo.conf").chmod(0o600)
    (host / "conf.d" / "more").write_text("")
    result = run(files=[f"{host}/conf.d", f"{host}/demo.conf"])
    assert result["changed_files"] == [f"{host}/conf.d/more", f"{host}/demo.conf"]


def test_a_file_that_is_named_no_more_restarts_nothing(run: Run, host: Path) -> None:
    (host / "conf.d").mkdir()
    for name in ("conf.d/kept", "conf.d/gone", "other.conf"):
        (host / name).write_text("")
    run(files=[f"{host}/conf.d", f"{host}/other.conf"])
    assert not run(files=[f"{host}/conf.d"])["changed"]
    (host / "conf.d/gone").unlink()
    assert run(files=[f"{host}/conf.d"])["changed_files"] == [f"{host}/conf.d/gone"]


def test_own_command(run: Run, host: Path) -> None:
    run()
    (host / "demo.conf").write_text("port 2\n")
    run(on_change="command", command=["touch", f"{host}/done"])
    assert (host / "done").exists()


def test_failed_restart_is_made_up_for(run: Run, host: Path) -> None:
    run()
    (host / "demo.conf").write_text("port 2\n")
    (host / "broken").touch()
    result = run()
    assert result["failed"]
    assert "Job failed" in result["msg"]
    assert "bad port" in result["msg"]
    assert "journalctl -u demo.service" in result["msg"]
    (host / "broken").unlink()
    assert run()["calls"] == ["restart demo.service"]


def test_running_but_never_seen(run: Run, host: Path) -> None:
    (host / "state").write_text(STATE.format("active", "enabled", "no", "loaded"))
    assert run()["calls"] == ["restart demo.service"]


def test_what_is_still_starting_cannot_reload(run: Run, host: Path) -> None:
    (host / "state").write_text(STATE.format("activating", "enabled", "no", "loaded"))
    assert run(on_change="reload")["calls"] == ["restart demo.service"]


def test_failed_service_and_changed_unit(run: Run, host: Path) -> None:
    (host / "state").write_text(STATE.format("failed", "enabled", "yes", "loaded"))
    assert run()["calls"] == ["daemon-reload", "reset-failed --quiet demo.service", "start demo.service"]


def test_new_unit_file(run: Run, host: Path) -> None:
    (host / "state").write_text(STATE.format("inactive", "", "no", "not-found"))
    (host / "new").write_text(STATE.format("inactive", "disabled", "no", "loaded"))
    assert run()["calls"] == ["daemon-reload", "enable --quiet demo.service", "start demo.service"]


def test_no_such_unit(run: Run, host: Path) -> None:
    (host / "state").write_text(STATE.format("inactive", "", "no", "not-found"))
    assert "There is no unit demo.service" in run()["msg"]


def test_masked(run: Run, host: Path) -> None:
    (host / "state").write_text(STATE.format("inactive", "masked", "no", "masked"))
    assert "systemctl unmask demo.service" in run()["msg"]


def test_stopped(run: Run) -> None:
    run()
    assert run(state="stopped")["calls"] == ["stop demo.service"]
    assert not run(state="stopped")["changed"]


def test_without_waiting(run: Run) -> None:
    assert run(wait=False)["calls"][-1] == "start --no-block demo.service"


def test_check_mode_on_a_blank_host(run: Run, host: Path) -> None:
    (host / "state").unlink()
    (host / "demo.conf").unlink()
    result = run(check=True)
    assert result["actions"] == ["daemon-reload", "enable", "start"]
    assert result["calls"] == []
    assert not (host / "stamps").exists()


def test_wait_for(run: Run, host: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{host}/socket")
        server.listen()
        assert run(wait_for=f"{host}/socket")["changed"]
    (host / "demo.conf").write_text("port 2\n")
    result = run(wait_for=f"{host}/socket", timeout=0)
    assert "does not accept connections" in result["msg"]
    assert run()["calls"] == ["restart demo.service"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("6379", ("127.0.0.1", 6379)), ("10.0.0.1:80", ("10.0.0.1", 80)), ("[::1]:80", ("::1", 80)), ("/run/x", "/run/x")],
)
def test_address(text: str, expected: object) -> None:
    assert address(text)[1] == expected


def test_a_service_is_the_platforms_from_before_its_first_file(run: Run, host: Path) -> None:
    """So a configuration that an interrupted run left is not taken for somebody else's."""
    entry = {"dest": f"{host}/demo.conf", "content": "port 3\n", "owner": "nobody-of-this-name"}
    assert run(check=True, configuration=[entry])
    assert not (host / "stamps").exists()
    assert run(configuration=[entry])["failed"]
    assert (host / "stamps/demo.service.json").read_text() == "{}"
    assert run()["calls"] == ["enable --quiet demo.service", "start demo.service"]


def test_what_was_there_before_is_kept_once(run: Run, host: Path) -> None:
    kept = host / "originals/demo.service.json"
    (host / "own.conf").write_text("own \udce9\n", errors="surrogateescape")
    (host / "own.conf").chmod(0o640)
    (host / "link").symlink_to("elsewhere")
    entries = [
        {"dest": f"{host}/own.conf", "content": "ours\n"},
        {"dest": f"{host}/link", "state": "absent", "on_change": "none"},
        {"dest": f"{host}/new.conf", "content": "ours\n"},
    ]
    run(check=True, configuration=entries)
    assert not kept.exists()
    run(configuration=entries)
    first = json.loads(kept.read_text())
    run(configuration=[entry | {"content": "changed\n"} for entry in entries if "content" in entry])
    assert json.loads(kept.read_text()) == first
    assert (first["unit"]["ActiveState"], first["unit"]["UnitFileState"]) == ("inactive", "disabled")
    files = {path.removeprefix(f"{host}/"): one for path, one in first["files"].items()}
    assert files["new.conf"] == {"state": "absent"}
    assert files["link"] == {"state": "link", "target": "elsewhere"}
    assert (files["own.conf"]["text"], files["own.conf"]["mode"]) == ("own \udce9\n", 0o640)
    for path, original in first["files"].items():
        originals.put_back(Path(path), original)
    assert (host / "own.conf").read_bytes() == b"own \xe9\n"
    assert (host / "own.conf").stat().st_mode & 0o777 == 0o640
    assert (host / "link").readlink() == Path("elsewhere")
    assert not (host / "new.conf").exists()


def test_a_file_of_a_service_that_is_the_platforms_already_is_not_taken_for_the_hosts(run: Run, host: Path) -> None:
    run(configuration=[{"dest": f"{host}/demo.conf", "content": "ours\n"}])
    (host / "originals/demo.service.json").unlink()
    run(configuration=[{"dest": f"{host}/{name}.conf", "content": "ours\n"} for name in ("demo", "more")])
    kept = json.loads((host / "originals/demo.service.json").read_text())["files"]
    assert kept == {f"{host}/demo.conf": {"state": "unknown"}, f"{host}/more.conf": {"state": "absent"}}


def test_lines_in_a_file_of_others_are_all_that_counts(run: Run, host: Path) -> None:
    """The rest may change, and stays; the service is not told of that."""
    path = host / "rules.conf"
    path.write_text("own\n")
    path.chmod(0o640)
    entry = {"dest": str(path), "block": "ours\n", "on_change": "reload"}
    (host / "state").write_text(STATE.format("active", "enabled", "no", "loaded"))
    assert run(files=[], configuration=[entry])["calls"] == ["reload demo.service"]
    assert path.read_text() == block.with_block("own\n", "ours\n")
    path.write_text(path.read_text() + "more of others\n")
    result = run(files=[], configuration=[entry])
    assert (result["changed"], result["calls"]) == (False, [])
    assert run(files=[], configuration=[entry | {"block": "other\n"}])["calls"] == ["reload demo.service"]
    assert block.without_block(path.read_text()) == "own\nmore of others\n"
    assert path.stat().st_mode & 0o777 == 0o640
    path.unlink()
    assert "no file to write a block into" in run(files=[], configuration=[entry])["msg"]


# --- what cannot be finished is undone --------------------------------------------------------------------------------


@pytest.fixture
def strict(host: Path) -> Path:
    """The host, whose service refuses to start or reload with the word `broken` in a file of its own."""
    (host / "bin/systemctl").rename(host / "bin/systemctl.real")
    (host / "bin/systemctl").write_text(
        '#!/bin/sh\ncase "$1" in start|restart|reload)\n'
        f'  if grep -qs broken {host}/own.conf {host}/new.conf; then echo "$*" >> {host}/calls; echo "Job failed"\n'
        f"    sed -i 's/ActiveState=.*/ActiveState=failed/' {host}/state; exit 1; fi ;;\nesac\n"
        f'exec {host}/bin/systemctl.real "$@"\n'
    )
    (host / "bin/systemctl").chmod(0o755)
    (host / "own.conf").write_text("the host's\n")
    (host / "own.conf").chmod(0o640)
    return host


def entries(host: Path, text: str) -> list[dict[str, str]]:
    """Two files: one that the host has, one that is new."""
    return [{"dest": f"{host}/{name}.conf", "content": text} for name in ("own", "new")]


@pytest.mark.parametrize("action", ["restart", "reload"])
def test_a_service_that_refuses_its_files_gets_the_old_ones_back_and_runs(run: Run, strict: Path, action: str) -> None:
    run(configuration=entries(strict, "good\n"))
    (strict / "own.conf").chmod(0o600)
    result = run(configuration=entries(strict, "broken\n"), on_change=action)
    assert result["failed"]
    for words in (
        "Job failed",
        "bad port",
        f"{strict}/new.conf, {strict}/own.conf is back",
        "demo.service runs with it",
    ):
        assert words in result["msg"]
    assert result["calls"] == [f"{action} demo.service", "reset-failed --quiet demo.service", "restart demo.service"]
    assert (strict / "own.conf").read_text() == (strict / "new.conf").read_text() == "good\n"
    assert (strict / "own.conf").stat().st_mode & 0o777 == 0o600
    assert "ActiveState=active" in (strict / "state").read_text()
    assert not list((strict / "previous").iterdir())
    assert run(configuration=entries(strict, "better\n"))["calls"] == ["restart demo.service"]


def test_on_a_fresh_host_new_files_go_and_nothing_runs(run: Run, strict: Path) -> None:
    result = run(configuration=entries(strict, "broken\n"))
    assert "did not run before, and does not run now" in result["msg"]
    assert (strict / "own.conf").read_text() == "the host's\n"
    assert (strict / "own.conf").stat().st_mode & 0o777 == 0o640
    assert not (strict / "new.conf").exists()
    assert result["calls"][-1] == "stop demo.service"


def test_the_old_files_are_kept_across_an_interrupted_run(
    run: Run, strict: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is cut off after the files were written; the next has other files, and they are refused."""
    run(configuration=entries(strict, "good\n"))

    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(service_applied, "apply", cut_off)
        with pytest.raises(KeyboardInterrupt):
            run(configuration=entries(strict, "half done\n"))
    assert (strict / "own.conf").read_text() == "half done\n"
    assert run(configuration=entries(strict, "broken\n"))["failed"]
    assert (strict / "own.conf").read_text() == "good\n"


def test_a_file_that_its_own_test_refuses_does_not_touch_the_service(run: Run, strict: Path) -> None:
    test = ["sh", "-c", f"! grep broken {strict}/own.conf"]
    run(configuration=entries(strict, "good\n"), test=test)
    result = run(configuration=entries(strict, "broken\n"), test=test)
    assert "demo.service would not take up its files:\nbroken" in result["msg"]
    assert "demo.service runs with it" in result["msg"]
    assert result["calls"] == []
    assert (strict / "own.conf").read_text() == "good\n"


def test_a_service_that_does_not_run_with_its_old_files_either(run: Run, strict: Path) -> None:
    run(configuration=entries(strict, "good\n"))
    (strict / "broken").touch()
    result = run(configuration=entries(strict, "better\n"))
    assert "does not run with it either: `systemctl restart demo.service` failed" in result["msg"]
    assert (strict / "own.conf").read_text() == "good\n"


def test_a_file_that_cannot_be_written_leaves_none_of_the_others(run: Run, strict: Path) -> None:
    run(configuration=entries(strict, "good\n"))
    bad = {"dest": f"{strict}/more.conf", "content": "x\n", "owner": "nobody-of-this-name"}
    assert run(configuration=[*entries(strict, "better\n"), bad])["failed"]
    assert (strict / "own.conf").read_text() == "good\n"


def test_a_service_that_ran_before_is_waited_for(run: Run, strict: Path) -> None:
    run(configuration=entries(strict, "good\n"))
    result = run(configuration=entries(strict, "broken\n"), wait=False)
    assert result["calls"][0] == "restart demo.service"
    assert (strict / "own.conf").read_text() == "good\n"


def test_the_last_words_of_its_own_log(run: Run, strict: Path) -> None:
    """What it said before is about something else."""
    (strict / "demo.log").write_text("started\n")
    script = (strict / "bin/systemctl").read_text()
    (strict / "bin/systemctl").write_text(
        script.replace('echo "Job failed"', f'echo "Job failed"; echo no such setting >>{strict}/demo.log')
    )
    result = run(configuration=entries(strict, "broken\n"), logs=[f"{strict}/demo.log"])
    assert f"The last lines of {strict}/demo.log:\n  no such setting\n" in result["msg"]
