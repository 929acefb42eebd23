"""What filters write is what its readers parse."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from typing import Any

import pytest
from ansible_collections.celery_on_hosts.platform.plugins.filter.health import (
    all_healthy,
    failing_programs,
    health_table,
    release_problems,
)
from ansible_collections.celery_on_hosts.platform.plugins.filter.memory import memory_limit
from ansible_collections.celery_on_hosts.platform.plugins.filter.platform import rabbitmq_password_hash
from ansible_collections.celery_on_hosts.platform.plugins.filter.releases import failed_command
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.settings import env_file

AWKWARD = ["plain", "two words", "it's", 'say "x" now', "50%", "%(here)s", "a,b=c", "$HOME `id` \\", "", "ü", "a#b;c"]
AWKWARD += ["p@s:s/w#r%25d,", "-----BEGIN KEY-----\nit's\n-----END KEY-----\n", "\r\n\t", "'\n'"]


def test_env_file_is_what_sh_reads() -> None:
    values = {f"V{number}": text for number, text in enumerate([*AWKWARD, "both ' and \""])}
    script = env_file(values) + "".join(f'printf "%s\\0" "$V{number}"\n' for number in range(len(values)))
    done = subprocess.run(["sh", "-c", script], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == list(values.values())


def test_env_file_is_sorted_and_takes_numbers() -> None:
    assert env_file({"B": 1.5, "A": 2}) == "A='2'\nB='1.5'\n"


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"A-B": "x"}, "no name"),
        ({"1A": "x"}, "no name"),
        ({"A": "x\0y"}, "holds a NUL"),
        ({"A": True}, "in quotes"),
        ({"A": None}, "in quotes"),
        ({"A": ["x"]}, "in quotes"),
        ("A=x", "expected a mapping"),
    ],
)
def test_an_environment_file_refuses(variables: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        env_file(variables)


def test_rabbitmq_password_hash() -> None:
    made = rabbitmq_password_hash("sécret", "celery")
    raw = base64.b64decode(made)
    assert raw[4:] == hashlib.sha256(raw[:4] + "sécret".encode()).digest()
    assert made == rabbitmq_password_hash("sécret", "celery")
    assert made != rabbitmq_password_hash("sécret", "flower")
    with pytest.raises(ValueError, match="password of celery is empty"):
        rabbitmq_password_hash("", "celery")


def test_a_release_is_judged_by_the_applications_own_programs() -> None:
    def checked(layer: str, severity: str) -> dict[str, str]:
        return {"layer": layer, "name": "x", "detail": "is odd", "severity": severity}

    well = [checked("canary", "ok"), checked("queues", "error"), checked("flower", "error"), checked("web", "warning")]
    assert release_problems({"stdout": json.dumps({"checks": well})}) == []
    sick = [*well, checked("canary", "error")]
    assert release_problems({"stdout": json.dumps({"checks": sick})}) == ["canary x: is odd"]
    assert release_problems({"stdout": "", "stderr": "Traceback\nOSError: no"}) == ["health check: OSError: no"]
    assert release_problems({"failed": True, "msg": "MODULE FAILURE"}) == ["health check: MODULE FAILURE"]
    assert release_problems({"skipped": True}) == release_problems({}) == []


def test_failing_programs_are_those_whose_logs_may_say_why() -> None:
    checks = [
        {"layer": "process", "name": "celery", "severity": "error", "detail": "is not running"},
        {"layer": "consuming", "name": "celery", "severity": "error", "detail": "no answer"},
        {"layer": "web", "name": "web", "severity": "error", "detail": "answers 500"},
        {"layer": "flower", "name": "flower", "severity": "ok", "detail": "answers 200"},
        {"layer": "canary", "name": "celery → low", "severity": "error", "detail": "did not come back"},
    ]
    assert failing_programs({"stdout": json.dumps({"checks": checks})}) == ["celery", "web"]
    assert failing_programs({"skipped": True}) == failing_programs({}) == []


def test_a_host_without_the_application_is_judged_by_its_services() -> None:
    def service(name: str, detail: str = "", ok: bool = True) -> dict[str, Any]:
        severity = "ok" if ok else "error"
        return {"layer": "service", "name": name, "ok": ok, "severity": severity, "detail": detail, "advice": "look"}

    ran = {"rc": 0, "stdout": json.dumps({"status": "healthy", "release": "1", "checks": []})}
    results: dict[str, dict[str, Any]] = {"worker": ran}
    services: dict[str, dict[str, Any]] = {
        "worker": {"checks": []},
        "broker": {"checks": [service("rabbitmq"), service("redis")]},
    }
    assert all_healthy(results, services)
    table = health_table(results, services)
    assert ["broker", "healthy", "-", "-", "rabbitmq", "redis", "-", "-"] in [
        line.split() for line in table.splitlines()
    ]

    hangs: dict[str, dict[str, Any]] = services | {
        "broker": {"checks": [service("rabbitmq", "127.0.0.1:5672 does not answer", ok=False)]}
    }
    assert not all_healthy(results, hangs)
    table = health_table(results, hangs)
    worst = ["broker", "unhealthy", "-", "-", "rabbitmq", "(✗)", "-", "-"]
    assert table.splitlines()[1].split() == worst, "the worst first"
    assert "✗ broker: service rabbitmq: 127.0.0.1:5672 does not answer\n    look" in table

    away = {"worker": {"unreachable": True}, "broker": {"unreachable": True}}
    assert not all_healthy({"worker": {"unreachable": True}}, away)
    assert health_table({}, away).count("unreachable") == 4
    assert "✗ broker: service check: MODULE FAILURE" in health_table({}, {"broker": {"msg": "MODULE FAILURE"}})
    assert "unhealthy" in health_table(results, {"worker": {"checks": [service("nginx", ok=False)]}})


def test_each_proxy_has_its_front_door() -> None:
    """Of several servers the worst counts, and the line below the table names it."""

    def door(name: str, ok: bool = True) -> dict[str, Any]:
        severity = "ok" if ok else "error"
        return {"layer": "front door", "name": name, "ok": ok, "severity": severity, "detail": "answers 502"}

    works = {"proxy": {"checks": [door("web"), door("web on a"), door("web on b"), door("flower")]}}
    assert health_table({}, works).splitlines()[1].split() == ["proxy", "healthy", "-", "-", "-", "web", "flower", "-"]
    broken = {"proxy": {"checks": [door("web"), door("web on a", ok=False), door("web on b"), door("flower")]}}
    table = health_table({}, broken).splitlines()
    assert table[1].split() == ["proxy", "unhealthy", "-", "-", "-", "web", "(✗)", "flower", "-"]
    assert table[-1] == "✗ proxy: front door web on a: answers 502"
    assert not all_healthy({}, broken)


def test_a_failed_release_command_is_said_with_its_output_and_what_did_not_run() -> None:
    commands = ["python -m migrate", "python -m load", "python -m notify"]
    good = {"item": commands[0], "rc": 0, "stdout": "done", "stderr": ""}
    bad = {"item": commands[1], "rc": 3, "stdout": "\n".join(f"line {n}" for n in range(20)), "stderr": "no table"}
    text = failed_command({"results": [good, bad]}, commands)
    assert text.splitlines()[0] == "The release command `python -m load` failed, exit code 3:"
    assert text.splitlines()[-2:] == ["  no table", "Not run: `python -m notify`"]
    assert "line 19" in text
    assert "line 1\n" not in text
    assert "Not run" not in failed_command({"results": [good, good, bad]}, commands)
    no_start = {"item": commands[0], "msg": "[Errno 2] No such file"}
    assert "exit code unknown:\n  [Errno 2] No such file" in failed_command({"results": [no_start]}, commands)
    silent = {"item": commands[0], "rc": 4, "stdout": "", "stderr": "", "msg": "non-zero return code"}
    assert "exit code 4:\n  It printed nothing." in failed_command({"results": [silent]}, commands)


@pytest.mark.parametrize(
    "said",
    [
        'permission denied to create extension "bloom"\nHINT:  Must be superuser to create this extension.',
        'extension "bloom" is not available',
        'could not open extension control file "/usr/share/postgresql/15/extension/bloom.control": No such file',
    ],
)
def test_a_release_command_that_lacks_an_extension_says_which_variable_brings_it(said: str) -> None:
    failed = {"item": "./manage.py migrate", "rc": 1, "stdout": "", "stderr": said + "\n" + "a line\n" * 20}
    assert "celery_database_extensions: [bloom]," in failed_command({"results": [failed]}, [])
    failed["stderr"] = 'relation "bloom" does not exist'
    assert "celery_database" not in failed_command({"results": [failed]}, [])


@pytest.mark.parametrize(
    "loop",
    [{"results": [], "skipped": True}, {"results": [{"skipped": True}]}, {"results": [{"item": "a", "rc": 0}]}],
)
def test_release_commands_that_did_not_fail_are_not_said(loop: dict[str, Any]) -> None:
    assert failed_command(loop, ["a"]) == ""


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("25%", "976mb"), ("1%", "32mb"), ("90%", "3536mb"), ("512mb", "512mb"), ("2gb", "2gb")],
)
def test_a_share_of_the_memory(limit: str, expected: str) -> None:
    assert memory_limit(limit, "MemTotal:        4030464 kB\nMemFree:          100000 kB\n") == expected


def test_another_kernel_on_the_same_host_gives_the_same_limit() -> None:
    assert memory_limit("25%", "MemTotal:  4030464 kB\n") == memory_limit("25%", "MemTotal:  4030112 kB\n")


def test_a_share_of_an_unknown_memory_is_an_error() -> None:
    with pytest.raises(Exception, match=r"redis_maxmemory is 25%.*Set a figure, such as 512mb"):
        memory_limit("25%", "")
