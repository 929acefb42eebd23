"""Which packages the platform installed, and which of them may go. Lines are dpkg-query's, of Debian 12 and 13."""

from __future__ import annotations

from pathlib import Path

from tests.unit.modules import run_module

from ansible_collections.celery_on_hosts.platform.plugins.module_utils.packages import (  # isort: skip
    Record,
    closure,
    parse,
    query,
    unneeded,
)

BEFORE = """\
installed\tlibc6\t\t, libgcc-s1
installed\tlibgcc-s1\t\t, libc6 (>= 2.35)
installed\tpython3\tpython3-supported-min (= 3.13)\t, libc6
config-files\tnginx\t\t, nginx-common
"""
CAME = """\
installed\terlang-base\terlang-abi-17.0\t, libc6 (>= 2.34), libtinfo6 (>= 6)
installed\terlang-ssl\t\t, erlang-base (= 1:27.3) | erlang-base-hipe (= 1:27.3), erlang-abi-17.0
installed\tlibtinfo6\t\t, libc6
installed\trabbitmq-server\t\tadduser, erlang-ssl (>= 1:26), python3:any
installed\tsocat\t\t, libc6
"""
BLANK, FULL = parse(BEFORE), parse(BEFORE + CAME)


def test_packages_are_read_with_alternatives_and_what_they_provide() -> None:
    assert "nginx" not in BLANK, "a removed package whose configuration stays"
    assert FULL["erlang-base"].provides == {"erlang-base", "erlang-abi-17.0"}
    assert FULL["erlang-ssl"].needs[0] == {"erlang-base", "erlang-base-hipe"}
    assert {"python3"} in FULL["rabbitmq-server"].needs


def test_this_hosts_packages_are_read() -> None:
    found = query()
    assert "libc6" in closure(found, ["dpkg"])


def test_what_came_is_recorded_and_what_others_installed_meanwhile_is_not(tmp_path: Path) -> None:
    path = tmp_path / "state/packages.json"
    Record(path).begin(["rabbitmq-server"], BLANK)
    Record(path).end(FULL)
    assert Record(path).installed == ["erlang-base", "erlang-ssl", "libtinfo6", "rabbitmq-server"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_provides_a_package_that_was_asked_for_is_recorded(tmp_path: Path) -> None:
    path = tmp_path / "packages.json"
    Record(path).begin(["libmagic1"], BLANK)
    Record(path).end(BLANK | parse("installed\tlibmagic1t64\tlibmagic1 (= 1:5.46)\t, libc6\n"))
    assert Record(path).installed == ["libmagic1t64"]


def test_an_installation_that_was_cut_off_is_counted_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "packages.json"
    Record(path).begin(["rabbitmq-server"], BLANK)
    half = parse(BEFORE + CAME.splitlines()[0] + "\n")
    Record(path).begin(["rabbitmq-server"], half)
    Record(path).end(FULL)
    assert "erlang-base" in Record(path).installed


def test_a_second_installation_adds_to_the_first(tmp_path: Path) -> None:
    path = tmp_path / "packages.json"
    Record(path).begin(["rabbitmq-server"], BLANK)
    Record(path).end(FULL)
    Record(path).begin(["redis-server"], FULL)
    Record(path).end(FULL | parse("installed\tredis-server\t\t, libc6\n"))
    assert {"rabbitmq-server", "redis-server"} <= set(Record(path).installed)


def test_all_that_came_may_go_together() -> None:
    came = sorted(FULL.keys() - BLANK.keys())
    assert unneeded(FULL, came) == came


def test_what_others_need_stays_with_all_that_it_needs() -> None:
    came = FULL.keys() - BLANK.keys()
    wings = FULL | parse("installed\twings3d\t\t, erlang-base | erlang-base-hipe\n")
    assert unneeded(wings, came) == ["erlang-ssl", "rabbitmq-server", "socat"]
    virtual = FULL | parse("installed\twings3d\t\t, erlang-abi-17.0\n")
    assert unneeded(virtual, came) == ["erlang-ssl", "rabbitmq-server", "socat"]
    another = FULL | parse("installed\tshop\t\t, socat | netcat\ninstalled\tnetcat\t\t\n")
    assert "socat" in unneeded(another, came), "another package is enough"


def test_the_module_records_and_changes_nothing_in_a_dry_run(tmp_path: Path) -> None:
    path = tmp_path / "packages.json"
    for state in ("begins", "ended"):
        assert run_module("packages_record", check=True, packages=["dpkg"], state=state, path=str(path)) == {
            "changed": False,
            "installed": [],
            "invocation": {"module_args": {"packages": ["dpkg"], "state": state, "path": str(path)}},
        }
    assert not path.exists()
    run_module("packages_record", packages=["dpkg"], state="begins", path=str(path))
    result = run_module("packages_record", packages=["dpkg"], state="ended", path=str(path))
    assert (result["changed"], result["installed"], Record(path).asked) == (False, [], ["dpkg"])
