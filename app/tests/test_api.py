import json
import time
import uuid
from typing import Any

import pytest
from celery import states
from django.test import Client

from tasks import app
from tasks.models import Event, Run, Submission

pytestmark = pytest.mark.django_db

SENT = {"message": {"headers": {}}}  # what an event of the kind `sent` tells at least


def post(client: Client, body: Any, content_type: str = "application/json") -> Any:
    data = body if isinstance(body, str | bytes) else json.dumps(body)
    return client.post("/api/tasks", data, content_type=content_type)


def follow(client: Client, url: str) -> dict[str, Any]:
    for _ in range(200):
        if (task := client.get(url).json())["ready"]:
            return dict(task)
        time.sleep(0.05)
    raise AssertionError(f"not ready: {task}")


@pytest.mark.parametrize("name", ["add", "tasks.add"])
def test_round_trip(client: Client, worker: None, name: str) -> None:
    response = post(client, {"task": name, "args": [2], "kwargs": {"y": 3}})
    accepted = response.json()
    assert response.status_code == 202
    assert accepted == {"id": accepted["id"], "url": f"/api/tasks/{accepted['id']}", "state": "PENDING"}
    assert response["Location"] == accepted["url"]
    task = follow(client, accepted["url"])
    assert (task["task"], task["args"], task["kwargs"]) == ("tasks.add", [2], {"y": 3})
    assert (task["state"], task["result"], task["error"], task["progress"]) == ("SUCCESS", 5, None, None)
    assert task["created"] < task["date_done"]


def test_failure_says_why_and_shows_no_traceback(client: Client, worker: None) -> None:
    task = follow(client, post(client, {"task": "fail", "args": ["because"]}).json()["url"])
    assert (task["state"], task["result"]) == ("FAILURE", None)
    assert task["error"] == {"type": "RuntimeError", "message": "because"}
    assert "traceback" not in task


def test_result_that_json_cannot_carry(client: Client, worker: None) -> None:
    task = follow(client, post(client, {"task": "mul", "args": [1e308, 10]}).json()["url"])
    assert (task["state"], task["result"]) == ("SUCCESS", "inf")


def test_progress(client: Client) -> None:
    task_id = str(uuid.uuid4())
    app.backend.store_result(task_id, {"current": 3, "total": 12}, "PROGRESS")
    task = client.get(f"/api/tasks/{task_id}").json()
    assert task["progress"] == {"current": 3, "total": 12, "percent": 25}
    assert (task["ready"], task["result"], task["error"]) == (False, None, None)


def test_retry_tells_the_last_error(client: Client) -> None:
    task_id = str(uuid.uuid4())
    app.backend.store_result(task_id, ConnectionError("attempt 1 failed"), states.RETRY)
    task = client.get(f"/api/tasks/{task_id}").json()
    assert (task["state"], task["ready"]) == ("RETRY", False)
    assert task["error"] == {"type": "ConnectionError", "message": "attempt 1 failed"}


def test_unknown_id_is_pending(client: Client) -> None:
    task = client.get(f"/api/tasks/{uuid.uuid4()}").json()
    assert (task["state"], task["task"], task["created"]) == ("PENDING", None, None)


def test_list(client: Client) -> None:
    ids = [post(client, {"task": "add", "args": [n, n]}).json()["id"] for n in range(22)]
    assert [task["id"] for task in client.get("/api/tasks").json()["tasks"]] == ids[:1:-1]


@pytest.mark.parametrize(
    ("body", "status", "code", "words"),
    [
        (b" ", 400, "not_json", "not JSON"),
        (b"task=add", 400, "not_json", "not JSON"),
        (b"\xff\xfe", 400, "not_json", "not JSON"),
        ('{"task": "add", "args": [NaN, 1]}', 400, "not_json", "NaN"),
        ("[" * 60000, 400, "not_json", "not JSON"),
        ("1" * 60000, 400, "not_json", "not JSON"),
        ("1" * 65537, 413, "too_large", "64 KiB"),
        ([], 422, "bad_body", "object"),
        ({}, 422, "unknown_task", "add, mul"),
        ({"task": ["add"]}, 422, "unknown_task", "one of"),
        ({"task": "os.system", "args": ["id"]}, 422, "unknown_task", "one of"),
        ({"task": "tasks.tick"}, 422, "unknown_task", "one of"),
        ({"task": "celery.backend_cleanup"}, 422, "unknown_task", "one of"),
        ({"task": "add", "args": {"x": 1}}, 422, "bad_arguments", "args must be a list"),
        ({"task": "add", "args": "23"}, 422, "bad_arguments", "args must be a list"),
        ({"task": "add", "kwargs": [2, 3]}, 422, "bad_arguments", "kwargs must be an object"),
        ({"task": "add", "args": [2]}, 422, "bad_arguments", "missing a required argument: 'y'"),
        ({"task": "add", "args": [2, 3, 4]}, 422, "bad_arguments", "too many"),
        ({"task": "add", "args": [2, 3], "kwargs": {"y": 4}}, 422, "bad_arguments", "multiple values"),
        ({"task": "add", "args": [2, 3], "kwargs": {"z": 4}}, 422, "bad_arguments", "unexpected"),
        ({"task": "count", "kwargs": {"self": 1}}, 422, "bad_arguments", "unexpected"),
        ({"task": "add", "args": [2, "3"]}, 422, "bad_arguments", "y must be a number"),
        ({"task": "add", "args": [2, True]}, 422, "bad_arguments", "y must be a number"),
        ({"task": "add", "args": [2, 2**53]}, 422, "bad_arguments", "y must be a number"),
        ('{"task": "add", "args": [1e999, 1]}', 422, "bad_arguments", "x must be a number"),
        ({"task": "xsum", "args": [[1, None]]}, 422, "bad_arguments", "numbers must be a list of numbers"),
        ({"task": "count", "args": [1.5]}, 422, "bad_arguments", "seconds must be a whole number"),
        ({"task": "count", "args": [0]}, 422, "bad_arguments", "from 1 to 3600"),
        ({"task": "count", "args": [3601]}, 422, "bad_arguments", "from 1 to 3600"),
        ({"task": "fail", "args": [1]}, 422, "bad_arguments", "message must be a string"),
        ({"task": "add", "args": [2, 3], "queue": "low"}, 422, "bad_body", "unknown: queue"),
    ],
)
def test_bad_input_is_refused(client: Client, body: Any, status: int, code: str, words: str) -> None:
    response = post(client, body)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (status, code)
    assert words in error["message"]
    assert not Submission.objects.exists()


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_what_another_site_could_send_is_refused(content_type: str) -> None:
    response = post(Client(enforce_csrf_checks=True), '{"task": "add", "args": [2, 3]}', content_type)
    assert response.status_code == 415


def test_a_program_needs_no_csrf_token() -> None:
    assert post(Client(enforce_csrf_checks=True), {"task": "add", "args": [2, 3]}).status_code == 202


def test_not_accepted_without_the_broker(client: Client, broker_down: None) -> None:
    response = post(client, {"task": "add", "args": [2, 3]})
    error = response.json()["error"]
    assert (response.status_code, error["code"], response["Retry-After"]) == (503, "broker_unavailable", "5")
    assert error["url"] == f"/api/tasks/{uuid.UUID(error['id'])}"
    assert not Submission.objects.exists()


def test_state_without_the_results(client: Client, results_down: None) -> None:
    response = client.get(f"/api/tasks/{uuid.uuid4()}")
    assert (response.status_code, response.json()["error"]["code"]) == (503, "results_unavailable")
    assert b"secret" not in response.content


def test_addresses_and_methods(client: Client) -> None:
    assert client.get("/api/tasks/1").json()["error"]["code"] == "not_found"
    response = client.delete("/api/tasks")
    assert (response.status_code, response["Allow"]) == (405, "GET, HEAD, POST")


def ask(client: Client, url: str, body: Any) -> Any:
    return client.post(url, body, content_type="application/json")


@pytest.fixture
def revoked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What workers were told to revoke."""
    told: list[Any] = []

    def revoke(ids: list[str], terminate: bool) -> None:
        told.append((sorted(ids), terminate))

    monkeypatch.setattr(app.control, "revoke", revoke)
    return told


def test_a_task_is_revoked(client: Client, revoked: list[Any]) -> None:
    task_id = str(uuid.uuid4())
    for body, terminate in (({}, False), ({"terminate": True}, True)):
        response = ask(client, f"/api/tasks/{task_id}/revoke", body)
        assert (response.status_code, response["Location"]) == (202, f"/api/tasks/{task_id}")
        assert revoked.pop() == ([task_id], terminate)
    for body in ({"terminate": "yes"}, {"signal": "KILL"}, []):
        assert ask(client, f"/api/tasks/{task_id}/revoke", body).status_code == 422
    assert client.post(f"/api/tasks/{task_id}/revoke").status_code == 415, "what another site could send"
    assert revoked == []


def test_what_has_not_ended_of_a_run_is_revoked(client: Client, revoked: list[Any]) -> None:
    run = Run.objects.create(example="delay")
    for task_id, kind in (("waits", "sent"), ("runs", "started"), ("done", "revoked")):
        Event.objects.create(run=run, task_id=task_id, task="tasks.add", kind=kind, time=run.created, detail=SENT)
    response = ask(client, f"/api/runs/{run.pk}/revoke", {"terminate": True})
    assert (response.status_code, response["Location"]) == (202, f"/api/runs/{run.pk}")
    assert revoked == [(["runs", "waits"], True)]
    assert ask(client, f"/api/runs/{uuid.uuid4()}/revoke", {}).status_code == 404


def test_a_run_is_run_again(client: Client) -> None:
    first = ask(client, "/api/examples/delay", {"arguments": {"x": 4, "y": 8}}).json()
    second = ask(client, f"{first['url']}/again", {}).json()
    assert second["id"] != first["id"]
    assert client.get(second["url"]).json()["arguments"] == {"x": 4, "y": 8}
    assert ask(client, f"/api/runs/{uuid.uuid4()}/again", {}).status_code == 404
    assert ask(client, f"{first['url']}/again", {"x": 5}).status_code == 422
    Run.objects.filter(pk=first["id"]).update(example="forgotten")
    assert ask(client, f"{first['url']}/again", {}).status_code == 404
    app.control.purge()


def test_not_revoked_without_the_broker(client: Client, broker_down: None) -> None:
    response = ask(client, f"/api/tasks/{uuid.uuid4()}/revoke", {})
    assert (response.status_code, response.json()["error"]["code"]) == (503, "broker_unavailable")


class TestWithoutTheDatabase:
    pytestmark = pytest.mark.usefixtures("database_down")

    def test_round_trip(self, client: Client, worker: None) -> None:
        response = post(client, {"task": "add", "args": [2, 3]})
        assert response.status_code == 202
        task = follow(client, response.json()["url"])
        assert (task["result"], task["created"]) == (5, None)

    def test_list(self, client: Client) -> None:
        response = client.get("/api/tasks")
        assert (response.status_code, response.json()["error"]["code"]) == (503, "database_unavailable")
        assert b"secret" not in response.content
