"""Celery's features on the deployed platform, each by its example of the application (docs/features.md)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from secrets import token_urlsafe
from typing import Any

import pytest

from tests.hosts.support import ROOT, Site, eventually, once

pytestmark = pytest.mark.needs("web", "example")

TICKED = """
import json, django
django.setup()
from tasks.models import Tick
print(json.dumps(Tick.objects.filter(name={name!r}).count()))
"""


USERS = "import django; django.setup(); from django.contrib.auth.models import User; "
# Each with its number as the argument.
IN_THIS_ORDER = """
import json
from tasks import add
from tasks.examples.routing import priority
sent = [add.apply_async((n, n), queue={queue!r}, priority=priority(level)) for n, level in enumerate({levels})]
print(json.dumps([one.id for one in sent]))
"""


def run(site: Site, example: str, **arguments: Any) -> Any:
    """Run an example by the web API; return its result."""
    answer = site.http(f"/api/examples/{example}", body={"arguments": arguments})
    assert answer.status == 202, answer
    done = eventually(lambda: site.http(answer.json()["url"]).json(), lambda run: run["ready"])
    assert done["state"] == "SUCCESS", done
    return done["result"]


@once
@pytest.mark.parametrize("store", ["of_the_app", "django", "sqlalchemy"])
def test_a_store_keeps_a_result_until_it_is_told_to_forget(site: Site, store: str) -> None:
    """On the deployment's own Redis and PostgreSQL."""
    seen = run(site, f"store_{store}")
    assert (seen["result"], seen["asked again"], seen["after forget"]) == (5, "SUCCESS", "PENDING")


@once
def test_rpc_answers_its_caller_once(site: Site) -> None:
    """Through the broker, whichever it is."""
    seen = run(site, "store_rpc")
    assert (seen["result"], seen["asked again"]) == (5, "PENDING")


@once
@pytest.mark.parametrize(
    ("example", "wanted"),
    [
        ("route_by_name", "high"),
        ("route_by_pattern", "low"),
        ("route_by_expression", "io"),
        ("exchange_and_key", "celery"),
    ],
)
def test_a_task_is_routed_where_a_worker_reads(site: Site, example: str, wanted: str) -> None:
    """To the queue of its route, or the default one where the platform has no such queue."""
    ran = run(site, example)
    assert ran["routing_key"] == (wanted if wanted in site.platform.queues else "celery")
    readers = [
        node for node, one in zip(site.nodes, site.platform.workers, strict=True) if ran["routing_key"] in one.queues
    ]
    assert ran["worker"] in readers


def test_the_highest_priority_overtakes_what_waits(site: Site) -> None:
    """Sent last, to a queue whose worker is stopped, it is handed out first, as far as the broker has priorities.

    Redis goes by the priority alone. Quorum queues of RabbitMQ 4 hand out two messages of a high priority, then one of
    the others, and go on counting from what they handed out before. Those of RabbitMQ 3 have no priorities.
    """
    worker = site.platform.workers[0]
    site.run(f"supervisorctl stop {worker.program}")
    try:
        sent = site.python(IN_THIS_ORDER.format(queue=worker.queues[0], levels=[0, 0, 0, 0, 9, 9]))
    finally:
        site.run(f"supervisorctl start {worker.program}")

    def handed_out() -> list[str]:
        said = site.run(f"grep -oE '\\[[0-9a-f-]{{36}}\\] received' /var/log/celery/{worker.program}.log", status=None)
        return [line[1:37] for line in said.splitlines() if line[1:37] in sent]

    order = eventually(handed_out, lambda seen: len(seen) >= len(sent))
    low, high = sent[:4], sent[4:]
    if site.platform.broker == "redis":
        assert order == high + low
    elif int(site.management("overview")["rabbitmq_version"].partition(".")[0]) >= 4:
        assert set(high) <= set(order[:3])
        assert [id for id in order if id in low] == low
    else:
        assert order == sent
    eventually(lambda: site.states(sent), lambda states: states == {"SUCCESS": len(sent)})


@once
def test_a_task_may_opt_in_to_another_serializer(site: Site) -> None:
    """msgpack for bytes, yaml for dates."""
    assert run(site, "by_msgpack", text="grüße") == 7
    assert run(site, "by_yaml", year=2026, month=11, day=21) == "Saturday"


@once
def test_the_page_shows_what_is_stored_where(site: Site) -> None:
    """Of the broker what it tells: how many messages wait and, only on Redis, how many are not acknowledged."""
    started = site.http("/api/examples/delay", body={"arguments": {}}).json()
    page = " ".join(site.http(f"/runs/{started['id']}").body.split())
    name, last = {
        "redis": ("Redis", r"unacked</code></dt><dd><b>\d+</b>"),
        "rabbitmq": ("RabbitMQ", r"unacknowledged</code></dt><dd><b>\?</b>"),
    }[site.platform.broker]
    waiting = r"celery</code></dt><dd><b>\d+</b> waiting"
    assert re.search(rf"<h3>Broker <small>{name}</small></h3> <dl><dt><code>{waiting}.*?<code>{last}", page), page


@once
@pytest.mark.needs("beat")
def test_beat_finds_an_entry_of_the_database_while_it_runs(site: Site) -> None:
    """And sends its task."""
    assert run(site, "each_few_seconds", seconds=2)["entry"] == "interval"
    eventually(lambda: site.python(TICKED.format(name="interval")), bool)


@once
def test_periodic_work_does_not_overlap(site: Site) -> None:
    """The lock is in the database, for all workers."""
    assert sorted(run(site, "one_at_a_time", seconds=3)) in (["another one is at it", "done"], ["done", "done"])


@pytest.fixture
def admin(site: Site) -> Iterator[str]:
    """Name and password of somebody who may edit beat's schedule."""
    password = token_urlsafe()
    site.python(f"{USERS}User.objects.create_superuser('verify', password={password!r}); print(0)")
    yield f"verify:{password}"
    site.python(f"{USERS}User.objects.filter(username='verify').delete(); print(0)")


@once
@pytest.mark.needs("beat", "rabbitmq")  # the same pages whichever broker there is
@pytest.mark.skipif(not (os.environ.get("CHROMIUM") or shutil.which("chromium")), reason="there is no chromium")
def test_the_pages_in_a_browser(site: Site, admin: str) -> None:
    """The application's own tests of them, with the pages of this host."""
    port = f":{site.platform.web_port}" if site.platform.web_port != 80 else ""  # a browser leaves out the usual one
    url = f"http://{site.platform.address}{port}"
    command = [str(ROOT / "bin/in-app"), "app", "pytest", "tests/test_browser.py"]
    environment = {**os.environ, "TASKS_URL": url, "TASKS_ADMIN": admin}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
