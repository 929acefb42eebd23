"""Failures get advice, by the words of SSH, sudo, apt and Mitogen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.celery_on_hosts.platform.plugins.callback.progress import (
    clock,
    hint,
    quoted,
    said,
    shorten,
)

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("The module interpreter '/usr/bin/python3' was not found.\n/bin/sh: 1: /usr/bin/python3: not found", "Python"),
        ("EOF on stream; last 100 lines received:\nsh: 1: /usr/bin/python3: not found", "Python"),
        ("/bin/sh: 1: sudo: not found", "no sudo"),
        ("Child start failed: [Errno 2] No such file or directory: 'sudo'. Command was: sudo -p x", "no sudo"),
        ("Missing sudo password", "NOPASSWD"),
        ("error occurred on host x: sudo password is required", "NOPASSWD"),
        ("E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 7", "Another apt"),
        ("E: dpkg was interrupted, you must manually run 'dpkg --configure -a'", "dpkg --configure -a"),
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("Temporary failure resolving 'deb.debian.org'", "mirror"),
        ("nobin@10.88.0.5: Permission denied (publickey,password).", "refuses the login"),
        ("SSH password was requested, but none specified", "refuses the login"),
        ("error occurred on host a: sudo password is incorrect", "ansible_become_password"),
        ("error occurred on host a: sudo password is required", "--ask-become-pass"),
        ("Host key checking is enabled, and SSH reported an unrecognized or mismatching host key.", "ssh-keygen -R"),
    ],
)
def test_hint(text: str, advice: str) -> None:
    assert advice in hint(text, unreachable=True)


def test_no_second_advice_and_none_invented() -> None:
    assert hint("Redis failed: No space left on device\nWhat to do: make room") == ""
    assert hint("something else") == ""
    assert "ansible_host" in hint("No route to host", unreachable=True)


def test_said() -> None:
    assert said({"msg": "non-zero return code", "stderr": "no\nsuch thing"}) == "non-zero return code\nno\nsuch thing"
    assert "secret" in said({"censored": "the output has been hidden", "msg": "pw"})
    assert "pw" not in said({"censored": "x", "msg": "pw"})
    assert said({"msg": "One failed", "results": [{"failed": True, "item": "a", "msg": "bad"}]}) == "One failed\na: bad"
    assert said({}) == "It does not say why."


def test_a_failure_that_a_later_one_explains_is_left_out() -> None:
    first = {"hosts": ["a"], "text": "not ready after 5 s: celery"}
    explained = {
        "hosts": ["a", "b"],
        "text": "Release 1 does not work: not ready after 5 s: celery\nRelease 0 runs again.",
    }
    assert quoted(first, [explained])
    assert not quoted(explained, [])
    assert not quoted(first, [{"hosts": ["b"], "text": explained["text"]}]), "on another host"
    assert not quoted(first, [{"hosts": ["a"], "text": "The disk is full."}])


def test_small_things() -> None:
    assert clock(75.6) == "1:15"
    assert len(shorten("x" * 1000)) < 420


PLAY = """
- name: The play
  hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - name: Change
      ansible.builtin.command: "true"
    - name: Skip
      ansible.builtin.command: "true"
      when: false
    - name: Say
      ansible.builtin.debug:
        msg: ["first line", "second line"]
    - name: Fail
      ansible.builtin.command: "sh -c 'echo sudo: not found >&2; exit 1'"
"""


def test_a_play(tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(PLAY)
    (tmp_path / "ansible.cfg").write_text("")
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible" / "collections"),
        "ANSIBLE_STDOUT_CALLBACK": "celery_on_hosts.platform.progress",
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "PROGRESS_TIMES": str(tmp_path / "times.json"),
        "LC_ALL": "C.UTF-8",
    }
    playbook = Path(sys.executable).parent / "ansible-playbook"
    done = subprocess.run(
        [playbook, "-i", "localhost,", "-e", f"ansible_python_interpreter={sys.executable}", "play.yml"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert lines[0] == "The play"
    assert lines[1].split()[2:] == ["Change", "changed:", "localhost"]
    assert lines[2:4] == ["first line", "second line"]
    assert lines[4].split()[2:] == ["Fail", "failed:", "localhost"]
    assert "localhost failed: Fail" in lines
    assert "  sudo: not found" in lines
    assert [line for line in lines if line.startswith("  What to do: The host has no sudo.")]
    assert lines[-1].endswith("1 host, failed on localhost")
    times = json.loads((tmp_path / "times.json").read_text())
    assert [task["task"] for task in times["tasks"]] == ["Change", "Skip", "Say", "Fail"]
