import re
import uuid

import pytest
from django.contrib.staticfiles import finders
from django.test import Client

from tasks import service
from tasks.models import Submission, Tick

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("name", service.EXAMPLES)
def test_each_example_has_a_form_that_submits_as_it_stands(client: Client, name: str) -> None:
    page = client.get("/", {"task": name}).content.decode()
    fields = dict(re.findall(r'<input (?:type="hidden" )?name="(\w+)" value="([^"]*)"', page))
    assert fields.pop("task") == name
    assert fields.keys() - {"csrfmiddlewaretoken"} == set(service.EXAMPLES[name].signature.parameters)
    response = client.post("/", {"task": name, **fields})
    record = Submission.objects.get()
    assert response.status_code == 302
    assert response["Location"] == f"/tasks/{record.pk}"
    assert record.task == f"tasks.{name}"
    assert client.get(response["Location"]).status_code == 200


def test_lists_are_typed_with_commas(client: Client) -> None:
    client.post("/", {"task": "xsum", "numbers": "1, 2,3.5"})
    assert Submission.objects.get().kwargs == {"numbers": [1, 2, 3.5]}


def test_bad_input_is_shown_and_kept(client: Client) -> None:
    response = client.post("/", {"task": "add", "x": "<b>", "y": "3"})
    assert response.status_code == 422
    assert b"x must be a number" in response.content
    assert b'value="&lt;b&gt;"' in response.content
    assert client.post("/", {"task": "tick"}).status_code == 422
    assert not Submission.objects.exists()


def test_the_form_needs_its_token() -> None:
    assert Client(enforce_csrf_checks=True).post("/", {"task": "add", "x": "2", "y": "3"}).status_code == 403


def test_recent_tasks_beat_and_release(client: Client) -> None:
    service.submit("add", [2, 3], {})
    Tick.objects.create(name="beat", at="2026-01-02T03:04:05Z")
    page = client.get("/").content.decode()
    assert str(Submission.objects.get().pk) in page
    assert "03:04:05" in page
    assert "r-test" in page


def test_a_failure_is_escaped(client: Client) -> None:
    task_id = str(uuid.uuid4())
    service.app.backend.store_result(task_id, RuntimeError("<script>"), "FAILURE")
    page = client.get(f"/tasks/{task_id}").content
    assert b"RuntimeError: &lt;script&gt;" in page


def test_nothing_comes_from_elsewhere(client: Client) -> None:
    response = client.get("/")
    assert response["Content-Security-Policy"].startswith("default-src 'none'")
    used = re.findall(r'(?:src|href|action)="([^"]+)"', response.content.decode())
    assert not [url for url in used if "//" in url]
    for url in used:
        if url.startswith("/static/"):
            assert finders.find(url.removeprefix("/static/"))
            assert client.get(url).status_code == 200


def test_without_the_broker(client: Client, broker_down: None) -> None:
    response = client.post("/", {"task": "add", "x": "2", "y": "3"})
    assert response.status_code == 503
    assert b"Not accepted" in response.content


def test_without_the_results(client: Client, results_down: None) -> None:
    assert client.get("/").status_code == 200
    assert client.get(f"/tasks/{uuid.uuid4()}").status_code == 503


def test_without_the_database(client: Client, database_down: None) -> None:
    response = client.get("/")
    assert response.status_code == 200
    assert b"No list of recent tasks" in response.content
    assert client.post("/", {"task": "add", "x": "2", "y": "3"}).status_code == 302
    assert client.get(f"/tasks/{uuid.uuid4()}").status_code == 200


def test_unknown_page(client: Client) -> None:
    response = client.get("/nowhere")
    assert response.status_code == 404
    assert b"Not found" in response.content
