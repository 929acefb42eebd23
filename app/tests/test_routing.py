"""Which queue a task goes to, and which of those that wait comes first."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from live import Live, Local
from unit_settings import BARE

from tasks.queues import task_queues

APP = Path(__file__).resolve().parent.parent


@pytest.fixture
def local(live: Live) -> Local:
    """The app on this machine, which has all queues."""
    if not isinstance(live, Local):
        pytest.skip("the deployment says which queues there are")
    return live


@pytest.mark.parametrize(
    ("example", "queue"),
    [
        ("route_by_name", "high"),
        ("route_by_pattern", "low"),
        ("route_by_expression", "io"),
        ("route_by_caller", "celery"),
        ("exchange_and_key", "celery"),
    ],
)
def test_routes(local: Local, example: str, queue: str) -> None:
    assert local.result(example)["routing_key"] == queue


@pytest.mark.parametrize(("numbers", "queue"), [(200, "low"), (3, "celery")])
def test_a_function_routes_by_the_arguments(local: Local, numbers: int, queue: str) -> None:
    code = f"from tasks import app; print(app.amqp.router.route({{}}, 'tasks.xsum', ([1] * {numbers},))['queue'].name)"
    assert (
        subprocess.check_output([sys.executable, "-c", code], cwd=APP, env=local.environment, text=True) == f"{queue}\n"
    )
    assert local.result("route_by_function", numbers=numbers) == sum(range(numbers))


def test_a_queue_that_is_not_declared_is_an_error_where_none_is_made_for_it(local: Local) -> None:
    code = "from tasks import app; app.conf.task_create_missing_queues = False; "
    code += "from tasks.examples.routing import urgent; urgent.apply_async(queue='nowhere')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=APP, env=local.environment, capture_output=True, text=True, check=False
    )
    assert "Queue 'nowhere' missing from task_queues" in done.stderr.splitlines()[-1]


def test_without_more_queues_everything_goes_to_one() -> None:
    code = """
import json
from tasks import app
from tasks.examples import routing, schedules
names = ("urgent", "bulk_copy", "fetch_slowly", "xsum")
print(json.dumps([app.amqp.router.route({}, f"tasks.{name}", ([1] * 200,))["queue"].name for name in names]))
"""
    assert json.loads(subprocess.check_output([sys.executable, "-c", code], cwd=APP, env=BARE)) == ["celery"] * 4


def test_queues_are_what_their_broker_needs() -> None:
    [redis] = task_queues(["io"], "redis://h/0")
    [rabbitmq] = task_queues(["io"], "amqp://h//")
    assert (redis.exchange.type, redis.routing_key, redis.queue_arguments) == ("direct", "io", None)
    assert (rabbitmq.exchange.type, rabbitmq.routing_key) == ("topic", "io")
    assert rabbitmq.queue_arguments == {"x-queue-type": "quorum"}


def test_the_highest_priority_overtakes_what_waits(local: Local, tmp_path: Path) -> None:
    """Sent last, it is run first by a worker that starts then: the broker gives it out before the others."""
    ledger = tmp_path / "ledger"
    environment = {
        **local.environment,
        "CELERY_BROKER_URL": f"redis://127.0.0.1:{local.redis_port}/7",
        "TASKS_LEDGER": str(ledger),
    }
    send = """
from tasks.examples.routing import fetch_slowly, priority
for level in (0, 4, 9):
    print(fetch_slowly.apply_async((0,), priority=priority(level)).id)
"""
    ids = subprocess.check_output([sys.executable, "-c", send], cwd=APP, env=environment, text=True).split()
    worker = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-P", "solo", "-n", "late@here"]
    with subprocess.Popen(
        worker, cwd=APP, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as late:
        deadline = time.monotonic() + 30
        ran: list[Any] = []
        while len(ran) < 3 and time.monotonic() < deadline:
            time.sleep(0.1)
            lines = ledger.read_text().splitlines() if ledger.exists() else []
            ran = [one["id"] for one in map(json.loads, lines) if one["event"] == "start"]
        late.kill()
    assert ran == ids[::-1]


@pytest.mark.parametrize("pool", ["threads", "gevent"])
def test_a_pool_for_waiting_waits_for_many_at_once(local: Local, pool: str, tmp_path: Path) -> None:
    """Ten tasks that each wait a second take a worker with one process, and of threads or gevent, two at most."""
    environment = {**local.environment, "CELERY_BROKER_URL": f"redis://127.0.0.1:{local.redis_port}/8"}
    node = f"{pool}@here"
    worker = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-P", pool, "-c", "10", "-Q", "io", "-n", node]
    code = """
import time
from tasks.examples.routing import pool_for_waiting
pool_for_waiting(1).get(timeout=30)
begun = time.monotonic()
ran = pool_for_waiting(10).get(timeout=30)
print(time.monotonic() - begun, *{one["worker"] for one in ran})
"""
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(worker, cwd=APP, env=environment, stdout=log, stderr=log) as waiting,
    ):
        try:
            took = subprocess.check_output([sys.executable, "-c", code], cwd=APP, env=environment, text=True).split()
        finally:
            waiting.kill()
    assert took[1:] == [node]
    assert 1 <= float(took[0]) < 9, "one after the other it is ten seconds"
