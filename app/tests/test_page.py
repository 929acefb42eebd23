"""The pages, without a worker: what they show, what their forms take, and what they say when something is away."""

import html
import re
import uuid
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.core.cache import cache
from django.test import Client

from tasks import app, registry, service
from tasks.models import Event, Run, Submission, Tick

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def empty_broker() -> Any:
    cache.clear()  # of what was seen at the broker
    yield
    app.control.purge()


def form_of(page: str) -> dict[str, str]:
    """Return what the form of an example asks for, as it stands."""
    form = page.split("<form", 2)[1].split("</form>")[0]
    return dict(re.findall(r'<input name="(\w+)" value="([^"]*)"', form))


def run_of(client: Client, name: str, **values: str) -> Run:
    """Run an example by its form; return the run."""
    response = client.post(f"/examples/{name}", values)
    assert response.status_code == 302, response.content
    run = Run.objects.get(pk=response["Location"].rpartition("/")[2])
    assert client.get(response["Location"]).status_code == 200
    return run


def test_each_example_has_a_page_with_its_code_and_its_arguments(client: Client) -> None:
    home = client.get("/").content.decode()
    for name, example in registry.load().items():
        assert f'href="/examples/{name}"' in home
        page = client.get(f"/examples/{name}").content.decode()
        plain = re.sub(r"<[^>]+>", "", page)
        assert f"def {name}(" in plain
        assert all(code.strip() in html.unescape(plain) for code in example.tasks.values())
        assert all(f'name="{argument}"' in page for argument in example.schema.get("properties", {}))


@pytest.mark.parametrize("name", ["delay", "chord_of_adds", "progress"])
def test_a_form_runs_the_example_as_it_stands(client: Client, name: str) -> None:
    values = form_of(client.get(f"/examples/{name}").content.decode())
    run = run_of(client, name, **values)
    assert (run.example, run.error) == (name, "")
    assert Event.objects.filter(run=run, kind="sent").exists()


def test_lists_are_typed_with_commas(client: Client) -> None:
    assert run_of(client, "chord_of_adds", numbers="1, 2,3.5").arguments == {"numbers": [1, 2, 3.5]}


def test_bad_input_is_shown_and_kept(client: Client) -> None:
    response = client.post("/examples/delay", {"x": "<b>", "y": "3"})
    assert response.status_code == 422
    assert b"x: input should be a valid number" in response.content
    assert b'value="&lt;b&gt;"' in response.content
    assert client.post("/examples/delay", {"z": "1"}).status_code == 422
    assert client.get("/examples/nothing").status_code == 404
    assert not Run.objects.exists()


def test_the_forms_need_their_token(client: Client) -> None:
    run = run_of(client, "delay")
    strict = Client(enforce_csrf_checks=True)
    for path in ("/examples/delay", f"/runs/{run.pk}/revoke", f"/runs/{run.pk}/again"):
        assert strict.post(path).status_code == 403
        assert client.get(path).status_code == (200 if path == "/examples/delay" else 405)


def test_an_error_of_the_caller_is_shown(client: Client) -> None:
    run = run_of(client, "wrong_arguments")
    page = client.get(f"/runs/{run.pk}").content.decode()
    assert "REFUSED" in page
    assert "missing 1 required positional argument" in page
    assert "hx-get" not in page, "nothing more is to come"


def test_a_direct_call_sends_nothing(client: Client) -> None:
    page = client.get(f"/runs/{run_of(client, 'direct', x='2', y='5').pk}").content.decode()
    assert ("RETURNED" in page, '<p class="outcome">7' in page, "No message was sent" in page) == (True, True, True)


def test_what_the_call_returned_is_shown_beside_its_tasks(client: Client) -> None:
    run = run_of(client, "delay")
    Run.objects.filter(pk=run.pk).update(results=None, value={"state": "SUCCESS", "get": 5})
    page = client.get(f"/runs/{run.pk}").content.decode()
    assert "<dt><code>get</code></dt><dd><code>5</code></dd>" in page
    assert "No message was sent" not in page


def test_what_is_as_it_was_seen_is_not_sent_again(client: Client) -> None:
    run = run_of(client, "delay")
    page = client.get(f"/runs/{run.pk}").content.decode()
    live = re.search(r'hx-get="([^"]+)"', page)
    assert live
    app.backend.store_result(str(Event.objects.get().task_id), 5, "SUCCESS")
    changed = client.get(live[1])
    assert changed.status_code == 200
    assert b'data-state="SUCCESS"' in changed.content, "the store knows what no event has told"
    seen = re.search(r'hx-get="([^"]+)"', changed.content.decode())
    assert seen
    assert client.get(seen[1]).status_code == 204


def test_what_is_stored_where(client: Client) -> None:
    run = run_of(client, "delay")
    task_id = Event.objects.get().task_id
    url = f"/runs/{run.pk}"
    waiting = re.sub(r"\s+", " ", client.get(url).content.decode())
    assert "<dt><code>celery</code></dt><dd><b>1</b> waiting</dd>" in waiting
    assert f'<code>celery-task-meta-{task_id}</code> </summary><pre tabindex="0">nothing</pre>' in waiting
    assert "<dt><code>tasks_event</code></dt><dd><b>1</b> row</dd>" in waiting
    app.backend.store_result(task_id, 5, "SUCCESS")
    stored = client.get(url).content.decode()
    assert "&quot;result&quot;: 5" in stored


def test_what_rabbitmq_does_not_tell_is_said(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kombu.transport.memory.Transport.driver_type", "amqp")
    page = re.sub(r"\s+", " ", client.get(f"/runs/{run_of(client, 'delay').pk}").content.decode())
    assert "<h3>Broker <small>RabbitMQ</small></h3> <dl><dt><code>celery</code></dt><dd><b>1</b> waiting" in page
    assert "<dt><code>unacknowledged</code></dt><dd><b>?</b> RabbitMQ tells a client only how many wait" in page


def test_the_picture_that_a_task_made_is_shown(client: Client) -> None:
    run = run_of(client, "small_picture")
    event = Event.objects.get()
    path = f"/thumbnails/{uuid.uuid4()}/256"
    detail = {"result": str({"image": path})}
    Event.objects.create(
        run=run, task_id=event.task_id, task=event.task, kind="succeeded", time=event.time, detail=detail
    )
    assert f'<img class="picture" src="{path}"' in client.get(f"/runs/{run.pk}").content.decode()


def test_run_again_takes_the_same_arguments(client: Client) -> None:
    run = run_of(client, "delay", x="4", y="8")
    response = client.post(f"/runs/{run.pk}/again")
    other = Run.objects.get(pk=response["Location"].rpartition("/")[2])
    assert (other.pk != run.pk, other.arguments) == (True, run.arguments)
    assert client.post(f"/runs/{uuid.uuid4()}/again").status_code == 404


def test_recent_runs_tasks_beat_and_release(client: Client) -> None:
    run = run_of(client, "delay")
    service.submit("add", [2, 3], {})
    Tick.objects.create(name="beat", at="2026-01-02T03:04:05Z")
    page = client.get("/").content.decode()
    assert f"/runs/{run.pk}" in page
    assert f"/tasks/{Submission.objects.get().pk}" in page
    assert "03:04:05" in page
    assert "r-test" in page


def test_what_beat_has_sent(client: Client) -> None:
    assert 'hx-get="/ticks?seen="' in client.get("/examples/each_few_seconds").content.decode()
    Tick.objects.create(name="interval", at="2026-01-02T03:04:05Z")
    part = client.get("/ticks?seen=").content.decode()
    assert ("<code>interval</code>" in part, "03:04:05" in part) == (True, True)
    seen = re.search(r'hx-get="([^"]+)"', part)
    assert seen
    assert client.get(seen[1]).status_code == 204


def test_what_a_task_says_is_escaped(client: Client) -> None:
    run = run_of(client, "delay")
    event = Event.objects.get()
    Event.objects.create(
        run=run,
        task_id=event.task_id,
        task=event.task,
        kind="failed",
        time=event.time,
        detail={"error": "RuntimeError: <script>", "traceback": "<script>"},
    )
    page = client.get(f"/runs/{run.pk}").content
    assert b"RuntimeError: &lt;script&gt;" in page
    assert b"<script>" not in page


def test_a_task_of_the_api(client: Client) -> None:
    task_id = str(uuid.uuid4())
    waiting = client.get(f"/tasks/{task_id}").content.decode()
    seen = re.search(r'hx-get="([^"]+)"', waiting)
    assert seen
    assert client.get(seen[1]).status_code == 204
    app.backend.store_result(task_id, RuntimeError("<script>"), "FAILURE")
    page = client.get(f"/tasks/{task_id}").content
    assert b"RuntimeError: &lt;script&gt;" in page
    assert b"hx-get" not in page


def test_nothing_comes_from_elsewhere(client: Client) -> None:
    for path in ("/", "/examples/delay", f"/runs/{run_of(client, 'delay').pk}"):
        response = client.get(path)
        assert response["Content-Security-Policy"].startswith("default-src 'none'")
        page = response.content.decode()
        assert not re.search(r"<style|<script>|\sstyle=|\son\w+=", page), "the policy refuses what is inline"
        used = re.findall(r'(?:src|href|action|hx-get)="([^"]+)"', page)
        assert not [url for url in used if "//" in url]
        for url in used:
            if url.startswith("/static/"):
                assert finders.find(url.removeprefix("/static/"))
                assert client.get(url).status_code == 200


def test_without_the_broker(client: Client, broker_down: None) -> None:
    response = client.post("/examples/delay", {"x": "2", "y": "3"})
    assert response.status_code == 503
    assert b"Not run" in response.content
    run = Run.objects.get()
    Event.objects.create(run=run, task_id=uuid.uuid4(), task="tasks.add", kind="started", time=run.created)
    response = client.post(f"/runs/{run.pk}/revoke")
    assert response.status_code == 503
    assert b"The broker does not answer; revoke it again." in response.content


def test_without_the_results(client: Client, results_down: None) -> None:
    assert client.get("/").status_code == 200
    assert client.get(f"/tasks/{uuid.uuid4()}").status_code == 503


def test_without_the_database(client: Client, database_down: None) -> None:
    response = client.get("/")
    assert response.status_code == 200
    assert b"no list of recent runs" in response.content
    assert client.get("/recent").status_code == 204
    assert client.post("/examples/delay", {"x": "2", "y": "3"}).status_code == 503
    assert client.get(f"/runs/{uuid.uuid4()}").status_code == 503
    assert client.get(f"/runs/{uuid.uuid4()}/live?seen=").status_code == 204
    assert client.get(f"/tasks/{uuid.uuid4()}").status_code == 200
    for answer in (
        client.post(f"/runs/{uuid.uuid4()}/revoke"),
        client.post(f"/runs/{uuid.uuid4()}/again"),
        client.get(f"/thumbnails/{uuid.uuid4()}/64"),
    ):
        assert answer.status_code == 503
        assert b"The database does not answer; try again." in answer.content


def test_unknown_page(client: Client) -> None:
    for path in ("/nowhere", "/examples/nothing", f"/runs/{uuid.uuid4()}"):
        response = client.get(path)
        assert response.status_code == 404
        assert b"Not found" in response.content
