"""The filters, held against how their readers parse."""

from __future__ import annotations

import base64
import configparser
import hashlib
import json
import re
import shlex
import subprocess
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.celery_on_hosts.platform.plugins.filter.health import release_problems
from ansible_collections.celery_on_hosts.platform.plugins.filter.platform import (
    account,
    env_file,
    rabbitmq_password_hash,
    supervisor_environment,
    supervisor_quote,
)
from ansible_collections.celery_on_hosts.platform.plugins.filter.releases import failed_command

AWKWARD = ["plain", "two words", "it's", 'say "x" now', "50%", "%(here)s", "a,b=c", "$HOME `id` \\", "", "ü", "a#b;c"]


def supervisor_reads(text: str) -> dict[str, str]:
    """Read an environment= line as supervisor 4.2.5 does (options.py, datatypes.py)."""
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"), strict=False)
    parser.read_string(f"[program:x]\nenvironment={text}\n")
    lexer = shlex.shlex(parser.get("program:x", "environment") % {"here": "/etc"})
    lexer.wordchars += "/.+-():"
    tokens = list(lexer)
    return {tokens[at]: tokens[at + 2].strip("'\"") for at in range(0, len(tokens), 4)}


def test_env_file_is_what_sh_reads() -> None:
    values = {f"V{number}": text for number, text in enumerate([*AWKWARD, "both ' and \""])}
    script = env_file(values) + "".join(f'printf "%s\\0" "$V{number}"\n' for number in range(len(values)))
    done = subprocess.run(["sh", "-c", script], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == list(values.values())


def test_env_file_is_sorted_and_takes_numbers() -> None:
    assert env_file({"B": 1.5, "A": 2}) == "A='2'\nB='1.5'\n"


@pytest.mark.parametrize("text", AWKWARD)
def test_supervisor_reads_it_back(text: str) -> None:
    assert supervisor_reads(supervisor_environment({"A": text, "B": "x"})) == {"A": text, "B": "x"}


@pytest.mark.parametrize("text", ["a ;b", "a #b", "a'b\"c", "'quoted'", 'ends"', "two\nlines"])
def test_supervisor_quote_refuses_what_it_cannot_hold(text: str) -> None:
    with pytest.raises(AnsibleFilterError):
        supervisor_quote(text)


@pytest.mark.parametrize("write", [env_file, supervisor_environment])
@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"A-B": "x"}, "no name"),
        ({"1A": "x"}, "no name"),
        ({"A": "x\ny"}, "more than one line"),
        ({"A": True}, "in quotes"),
        ({"A": None}, "in quotes"),
        ({"A": ["x"]}, "in quotes"),
        ("A=x", "expected a mapping"),
    ],
)
def test_environment_refuses(write, variables, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(AnsibleFilterError, match=message):
        write(variables)


def test_rabbitmq_password_hash() -> None:
    made = rabbitmq_password_hash("sécret", "celery")
    raw = base64.b64decode(made)
    assert raw[4:] == hashlib.sha256(raw[:4] + "sécret".encode()).digest()
    assert made == rabbitmq_password_hash("sécret", "celery")
    assert made != rabbitmq_password_hash("sécret", "flower")
    with pytest.raises(AnsibleFilterError, match="password of celery is empty"):
        rabbitmq_password_hash("", "celery")


def test_an_account_is_named_after_its_password() -> None:
    name = account("sécret", "celery", "key")
    assert re.fullmatch(r"celery_[0-9a-f]{8}", name)
    assert name == account("sécret", "celery", "key")
    others = [account("sécret", "flower", "key"), account("another", "celery", "key"), account("sécret", "celery", "k")]
    assert len({one[-8:] for one in [name, *others]}) == 4
    with pytest.raises(AnsibleFilterError, match="password of celery is empty"):
        account("", "celery", "key")


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


@pytest.mark.parametrize(
    "loop",
    [{"results": [], "skipped": True}, {"results": [{"skipped": True}]}, {"results": [{"item": "a", "rc": 0}]}],
)
def test_release_commands_that_did_not_fail_are_not_said(loop: dict[str, Any]) -> None:
    assert failed_command(loop, ["a"]) == ""
