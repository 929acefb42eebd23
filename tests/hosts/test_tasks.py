"""Tasks go round: through each queue, from the shell and from the web side, and beat sends its own."""

from __future__ import annotations

import pytest

from tests.hosts.support import Site, eventually

WEB = {
    "add": ([2, 3], "SUCCESS", 5),
    "xsum": ([[1, 2, 3.5]], "SUCCESS", 6.5),
    "flaky": ([1], "SUCCESS", 2),  # fails once, is tried again, and returns the number of the attempt
    "fail": (["on purpose"], "FAILURE", None),
}


def test_a_task_goes_round_through_the_queue(site: Site, queue: str) -> None:
    """And it is run by the worker that reads this queue."""
    ran = site.python(
        f"import json; from tasks import add; r = add.apply_async((2, 3), queue={queue!r}); "
        "print(json.dumps([r.get(timeout=10), r.state, r.worker]))"
    )
    readers = [node for node, worker in zip(site.nodes, site.platform.workers, strict=True) if queue in worker.queues]
    assert ran[:2] == [5, "SUCCESS"]
    assert ran[2] in readers


@pytest.mark.needs("plain")
def test_a_failure_comes_back_as_one(site: Site) -> None:
    """Adding what cannot be added raises, in the worker and for who waits."""
    assert site.python(
        "import json; from tasks import add; r = add.delay(2, 'x'); e = r.get(timeout=10, propagate=False); "
        "print(json.dumps([r.state, type(e).__name__]))"
    ) == ["FAILURE", "TypeError"]


@pytest.mark.needs("plain")
def test_the_limits_of_the_application_hold(site: Site) -> None:
    """A setting, an option of a task and options of a call, each shorter than the platform's soft limit."""
    code = (
        "import json; from tasks import add, nap, rest; "
        "sent = [add.delay(2, 3), nap.delay(30), rest.apply_async([30], time_limit=2), "
        "rest.apply_async([30], soft_time_limit=1)]; ended = [one.get(timeout=20, propagate=False) for one in sent]; "
        "print(json.dumps([ended[0], *([type(one).__name__, *one.args] for one in ended[1:])]))"
    )
    hard = "TimeLimitExceeded"
    assert site.python(code) == [5, [hard, 3], [hard, 2], ["SoftTimeLimitExceeded"]]


REVOKED = """
import json
from tasks import add
sent = [add.apply_async((40, 2), countdown=20) for _ in range(2)]
assert add.app.control.revoke(sent[0].id, reply=True, timeout=10)
print(json.dumps([one.id for one in sent]))
"""


@pytest.mark.needs("plain")
def test_a_task_that_waits_is_still_revoked_after_a_restart(site: Site) -> None:
    """The worker that heard the revoke has ended before the task is due; the broker waits, or the next worker."""
    revoked, meant = site.python(REVOKED)
    site.run("supervisorctl restart celery")
    ask = f"""
import json
from tasks import add
print(json.dumps([add.AsyncResult(one).state for one in {[revoked, meant]}]))
"""
    states = eventually(lambda: site.python(ask), lambda found: found[1] == "SUCCESS", within=60)
    assert states == ["REVOKED", "SUCCESS"]


@pytest.fixture(scope="module")
def submitted(site: Site) -> dict[str, str]:
    """Tasks that the web API took, all at once: the address of each, by name."""
    answers = {name: site.http("/api/tasks", body={"task": name, "args": args}) for name, (args, *_) in WEB.items()}
    assert {answer.status for answer in answers.values()} == {202}, answers
    return {name: answer.json()["url"] for name, answer in answers.items()}


@pytest.mark.needs("web", "example")
@pytest.mark.parametrize("name", WEB)
def test_the_web_api_takes_a_task_and_tells_how_it_ended(site: Site, submitted: dict[str, str], name: str) -> None:
    """It is followed by its address until it is done."""
    _, state, result = WEB[name]
    done = eventually(lambda: site.http(submitted[name]).json(), lambda task: task["ready"])
    assert (done["state"], done["result"], done["task"]) == (state, result, f"tasks.{name}")
    assert done["retries"] == (1 if name == "flaky" else 0)
    assert done["error"] == ({"type": "RuntimeError", "message": "on purpose"} if name == "fail" else None)


@pytest.mark.needs("web", "plain")
@pytest.mark.parametrize(("path", "named", "status"), [("/", True, 200), ("/healthz", True, 404), ("/", False, 400)])
def test_a_web_side_that_knows_nothing_of_the_platform_serves(site: Site, path: str, named: bool, status: int) -> None:
    """Behind nginx, under its own name alone, and without a page for the health check."""
    answer = site.http(path, host=str(site.platform.variables["celery_web_host"]) if named else "")
    assert answer.status == status, answer


@pytest.mark.needs("web", "plain")
def test_the_health_check_asks_the_web_side_by_its_name(site: Site) -> None:
    """It would be refused under any other."""
    _, health = site.health()
    (check,) = [check for check in health["checks"] if check["layer"] == "web"]
    assert check["ok"], check
    assert f"(Host: {site.platform.variables['celery_web_host']}) answers 200" in check["detail"]


@pytest.mark.needs("web", "plain")
def test_nginx_serves_what_was_made_for_the_release_and_what_the_application_wrote(site: Site) -> None:
    """The first belongs to root; the second is kept over releases, and nobody but nginx and celery reads it."""
    name = str(site.platform.variables["celery_web_host"])
    assert site.http("/static/site.css", host=name).body == "body { color: black }"
    assert site.run("stat -Lc '%U %a' /opt/celery/current/static/static/site.css").strip() == "root 644"
    assert site.http("/note", host=name).status == 201
    assert site.http("/uploads/note.txt", host=name).body == "a note"
    assert site.run("cat /var/lib/celery/data/uploads/note.txt") == "a note"
    site.run("cat /var/lib/celery/data/uploads/note.txt", user="nobody", status=1)


@pytest.mark.needs("web", "example")
def test_progress_is_seen(site: Site) -> None:
    """A long task tells how far it is."""
    url = site.http("/api/tasks", body={"task": "count", "args": [2]}).json()["url"]
    begun = eventually(lambda: site.http(url).json(), lambda task: task["state"] == "PROGRESS")
    assert begun["progress"]["total"] == 2
    done = eventually(lambda: site.http(url).json(), lambda task: task["ready"])
    assert done["result"] == 2


@pytest.mark.needs("web", "example")
def test_the_web_side_is_ready(site: Site) -> None:
    """It reaches broker, results and database."""
    answer = site.http("/readyz")
    assert answer.status == 200, answer
    assert answer.json()["checks"] == {"broker": "ok", "results": "ok", "database": "ok"}


@pytest.mark.needs("beat", "example")
def test_beat_sends_its_task(site: Site) -> None:
    """The one of every 30 s has run in the last minute, and goes on to."""

    def ticks() -> str:
        return site.run("grep -h 'tasks.tick.*succeeded' /var/log/celery/celery*.log", status=None)

    before = ticks()
    eventually(ticks, lambda now: now != before or before.count("\n") > 1, within=40)
