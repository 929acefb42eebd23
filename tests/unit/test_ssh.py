"""`make ssh` goes where Ansible goes; ssh itself is replaced by a program that says what it was asked for."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.unit.rendering import ROOT

SSH = """#!/usr/bin/python3
import json, sys
print(json.dumps({"arguments": sys.argv[1:], "input": sys.stdin.read()}))
sys.exit(7)
"""


@pytest.fixture
def ask(tmp_path: Path) -> Any:
    """Run bin/ssh with these variables of a host; return the exit code, the arguments of ssh and its input."""
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(SSH)
    program.chmod(0o755)

    def run(variables: dict[str, Any], command: str, given: str = "") -> tuple[int, list[str], str]:
        inventory = tmp_path / "hosts.yml"
        inventory.write_text(json.dumps({"all": {"hosts": {"Web_Host-1": variables}}}))
        done = subprocess.run(
            [ROOT / "bin/ssh", str(inventory), "", command],
            env=os.environ | {"PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"},
            input=given, capture_output=True, text=True, check=False, cwd=ROOT,
        )  # fmt: skip
        said = json.loads(done.stdout)
        return done.returncode, said["arguments"], said["input"]

    return run


def test_ssh_gets_what_ansible_has(ask: Any) -> None:
    variables = {
        "ansible_host": "192.0.2.1",
        "ansible_port": 2222,
        "ansible_user": "deploy",
        "ansible_ssh_common_args": "-o ProxyJump='a b'",
    }
    code, arguments, given = ask(variables, "echo 'x y'", "SELECT 1")
    assert arguments[:6] == ["-o", "ProxyJump=a b", "-p", "2222", "-l", "deploy"]
    assert arguments[6:] == ["192.0.2.1", "sudo -H bash -l -c 'echo '\"'\"'x y'\"'\"''"]
    assert (code, given) == (7, "SELECT 1")


def test_sudo_gets_its_password_before_the_command_gets_its_input(ask: Any) -> None:
    variables = {"ansible_user": "deploy", "ansible_become_password": 'pa ss"w$rd'}
    code, arguments, given = ask(variables, "cat", "SELECT 1\n")
    assert arguments[-1].startswith("sudo -H -S -p '' bash")
    assert (code, given) == (7, 'pa ss"w$rd\nSELECT 1\n')
    assert 'pa ss"w$rd' not in str(arguments), "other users of this machine see arguments"


def test_root_needs_no_sudo(ask: Any) -> None:
    _, arguments, given = ask({"ansible_user": "root", "ansible_become_password": "x"}, "true")
    assert (arguments[-1], given) == ("bash -l -c true", "")
