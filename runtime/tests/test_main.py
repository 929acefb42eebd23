"""The ``celery`` command starts without the shell of ``celery amqp``, which is there all the same."""

from __future__ import annotations

from conftest import PLAIN

USES_IT = PLAIN + "import click_repl\nprint('found', click_repl.repl.__module__)\n"


def imported(stderr: str) -> set[str]:
    """Return the packages that ``-X importtime`` lists."""
    return {line.rpartition("|")[2].strip() for line in stderr.splitlines() if line.startswith("import time:")}


def test_a_start_does_not_load_the_shell(platform, app_dir, python):
    platform()
    done = python(app_dir(tasks=PLAIN), "-X", "importtime", "-m", "celery_on_hosts", "-A", "tasks", "worker", "--help")
    assert done.returncode == 0, done.stderr
    assert "celery.bin.amqp" in imported(done.stderr)
    assert "prompt_toolkit" not in imported(done.stderr)


def test_the_shell_is_there(platform, app_dir, python):
    platform()
    command = ["-X", "importtime", "-m", "celery_on_hosts", "-A", "tasks", "amqp"]
    assert "repl" in python(app_dir(tasks=PLAIN), *command, "--help").stdout
    done = python(app_dir(tasks=PLAIN), *command, "repl")
    assert done.returncode == 0, done.stderr
    assert "prompt_toolkit" in imported(done.stderr)


def test_an_application_may_use_it_too(platform, app_dir, python):
    platform()
    done = python(app_dir(tasks=USES_IT), "-m", "celery_on_hosts", "-A", "tasks", "report")
    assert "found click_repl._repl" in done.stdout, done.stderr
