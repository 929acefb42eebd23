"""The commands of Celery's guides, as written, for root and for an operator; and refused to others."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from tests.hosts.support import Site, without_colours

# The application on both brokers, and another's application; of Debian 12 the latter.
pytestmark = [pytest.mark.unless("example", "debian12"), pytest.mark.unless("plain", "debian13")]

NODE = "->  {node}: OK"


class Said(NamedTuple):
    """The end of a command."""

    status: int
    text: str


# Each command, and what is to be read in its answer: for every {node} that the inventory has.
COMMANDS = {
    "celery -A tasks status": NODE,
    "celery -A tasks inspect active_queues": NODE,
    "celery -A tasks inspect stats": NODE,
    "celery -A tasks control rate_limit tasks.add 1000/s": NODE,
    "celery -A tasks report": "task_acks_late: True",
    "celery -A tasks events --dump | grep -m 1 heartbeat": "heartbeat",
    "celery -A tasks result $(celery -A tasks call tasks.add --args '[2, 3]')": "\n5\n",
    'celery-python -c "from tasks import add; r = add.delay(2, 3); print(r.status, r.get(timeout=10))"': " 5\n",
    "celery-health": ": healthy",
    "celery-dead": "0 of 0 dead-lettered",
    "supervisorctl status celery": "RUNNING",
    "supervisorctl tail celery stderr": "succeeded in",
}
QUEUES = "celery -A tasks inspect active_queues"
AMQP = "celery -A tasks amqp queue.declare verify && celery -A tasks amqp queue.delete verify"
# An operator goes through sudo, root does not; after that all is the same.
AS_ROOT = [command for command in COMMANDS if re.search("status|-python|-health|-dead", command)]
CASES: list[tuple[str, str, str, list[str]]] = [
    *(("operator", command, answer, []) for command, answer in COMMANDS.items()),
    *(("root", command, COMMANDS[command], []) for command in AS_ROOT),
    ("operator", AMQP, "0 messages deleted", ["rabbitmq"]),
]
PARAMETERS = [
    pytest.param(user, command, answer, id=f"{user}: {command}", marks=pytest.mark.needs(*needs))
    for user, command, answer, needs in CASES
]


@pytest.fixture(scope="module")
def answers(site: Site) -> Iterator[Callable[[str, str], Said]]:
    """What a user's command says. They wait more than they work, so a few run side by side, ahead of their tests."""

    def ask(user: str, command: str) -> Said:
        name = site.platform.operator if user == "operator" else "root"
        done = site.host.run("cd / && timeout 60 runuser -u %s -- sh -c %s", name, command)
        return Said(done.rc, without_colours(f"\n{done.stdout}{done.stderr}"))

    asked = [(user, command) for user, command, _, needs in CASES if set(needs) <= site.platform.features]
    with ThreadPoolExecutor(3) as pool:
        said = {case: pool.submit(ask, *case) for case in asked}
        yield lambda user, command: said[user, command].result()


@pytest.mark.parametrize(("user", "command", "answer"), PARAMETERS)
def test_the_command_works(
    site: Site, answers: Callable[[str, str], Said], user: str, command: str, answer: str
) -> None:
    """Exit code 0, and each worker has answered."""
    said = answers(user, command)
    assert said.status == 0, said.text
    for node in site.nodes:
        assert answer.format(node=node) in said.text


def test_active_queues_are_those_of_the_inventory(site: Site, answers: Callable[[str, str], Said]) -> None:
    """Neither more nor fewer."""
    found = re.findall(r"\* \{'name': '([^']+)'", answers("operator", QUEUES).text)
    assert sorted(found) == sorted(site.platform.queues)


@pytest.mark.parametrize("command", ["celery -A tasks status", "celery-python -c pass", "celery-health", "celery-dead"])
def test_others_are_refused_in_clear_words(site: Site, command: str) -> None:
    """And told who may."""
    said = site.run(command, user="nobody", status=77)
    assert "only for root and members of celery-operators" in said


@pytest.mark.parametrize("verb", ["status", "shutdown"])
def test_others_may_not_control_programs(site: Site, verb: str) -> None:
    """Nor look at them: supervisord's socket does not open."""
    assert "Permission denied" in site.run(f"supervisorctl {verb}", user="nobody", status=None)


def test_an_operator_is_no_administrator(site: Site) -> None:
    """Operators become the celery user for our commands, and nobody else for anything."""
    for command in ("sudo -n true", "sudo -n -u celery true", "cat /etc/celery/environment"):
        done = site.host.run("runuser -u %s -- sh -c %s", site.platform.operator, command)
        assert done.rc != 0, command


def test_no_command_shows_a_secret(site: Site, answers: Callable[[str, str], Said]) -> None:
    """Not even the report, which shows all settings."""
    said = "".join(answers("operator", command).text for command in COMMANDS) + site.run("celery -A tasks inspect conf")
    assert {name for name, secret in site.platform.secrets.items() if secret in said} == set()
