"""The examples as they are offered; what each does is in `examples/`."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from unit_settings import BARE

from tasks import app, registry
from tasks.examples import CHAPTERS
from tasks.models import Run

APP = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.django_db


def post(client: Client, name: str, **arguments: Any) -> Any:
    return client.post(f"/api/examples/{name}", {"arguments": arguments}, content_type="application/json")


@pytest.mark.parametrize("name", registry.load())
def test_each_example_says_what_it_is(name: str) -> None:
    one = registry.find(name)
    assert one.chapter in CHAPTERS
    assert one.title
    assert one.source.startswith("def ")
    suggested = one.check({})
    assert suggested.keys() == one.schema.get("properties", {}).keys(), "each argument has a default"
    assert one.check(suggested) == suggested, "and it is one that is taken"


def test_an_example_shows_the_code_of_its_tasks(client: Client) -> None:
    one = client.get("/api/examples/chord_of_adds").json()
    assert one["source"].startswith("def chord_of_adds(numbers")
    assert one["tasks"].keys() == {"tasks.add", "tasks.xsum"}
    assert "return x + y" in one["tasks"]["tasks.add"]
    assert one["arguments"]["properties"]["numbers"]["default"] == [1, 2, 3]
    assert one in client.get("/api/examples").json()["examples"]


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("base", {"tasks.is_prime", "Sieve"}),
        ("pydantic_arguments", {"tasks.offer", "Order", "Offer"}),
        ("custom_request", {"tasks.announced", "Announcing", "Announced"}),
        ("link_error", {"tasks.fail", "tasks.explain"}),
        ("direct", {"tasks.add"}),
        ("wrong_arguments", {"tasks.add"}),
    ],
)
def test_an_example_shows_what_its_tasks_are_made_of(name: str, parts: set[str]) -> None:
    assert registry.find(name).tasks.keys() == parts


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ("{", 400, "not JSON"),
        ({"arguments": []}, 422, "must be an object"),
        ({"argument": {}}, 422, "unknown: argument"),
        ({"arguments": {"z": 1}}, 422, "z: extra inputs are not permitted"),
        ({"arguments": {"x": "2"}}, 422, "x: input should be a valid number"),
        ({"arguments": {"x": True}}, 422, "x: input should be a valid number"),
        ({"arguments": {"x": 1e10}}, 422, "x: input should be less than"),
    ],
)
def test_bad_arguments_are_refused(client: Client, body: Any, status: int, words: str) -> None:
    response = client.post("/api/examples/delay", body, content_type="application/json")
    assert response.status_code == status
    assert words in response.json()["error"]["message"]
    assert not Run.objects.exists()


def test_what_is_typed_is_read() -> None:
    one = registry.find("chord_of_adds")
    assert one.read({"numbers": "1, 2.5,3"}) == {"numbers": [1, 2.5, 3]}
    assert registry.find("delay").read({"x": "7"}) == {"x": 7, "y": 3}
    for wrong in ("1, b", "", "1,,2"):
        with pytest.raises(registry.BadArguments, match="numbers"):
            one.read({"numbers": wrong})


def test_a_value_and_an_error_are_what_a_call_can_give_too(client: Client) -> None:
    run = client.get(post(client, "direct", x=4).json()["url"]).json()
    assert (run["state"], run["result"], run["error"], run["tasks"]) == ("SUCCESS", 7, None, [])
    run = client.get(post(client, "wrong_arguments").json()["url"]).json()
    assert "TypeError: add() missing 1 required positional argument: 'y'" in run["error"]


def test_unknown(client: Client) -> None:
    assert post(client, "nothing").status_code == 404
    assert client.get("/api/runs/00000000-0000-0000-0000-000000000000").status_code == 404


def test_not_accepted_without_the_broker(client: Client, broker_down: None) -> None:
    response = post(client, "delay")
    assert (response.status_code, response.json()["error"]["code"]) == (503, "broker_unavailable")
    assert Run.objects.get().error.startswith("Not accepted")


@pytest.mark.parametrize(
    ("members", "state", "result"),
    [
        (["SUCCESS", "SUCCESS"], "SUCCESS", [1, 1]),
        (["PENDING", "PENDING"], "PENDING", None),
        (["SUCCESS", "PENDING"], "STARTED", None),
        (["SUCCESS", "FAILURE", "REVOKED"], "FAILURE", None),
        (["REVOKED", "PENDING"], "REVOKED", None),
    ],
)
def test_a_group_has_the_state_of_its_members(client: Client, members: list[str], state: str, result: Any) -> None:
    run = Run.objects.create(example="group_of_adds")
    run.results = [[str(run.pk), None], [[[f"{run.pk} {n}", None], None] for n in range(len(members))]]
    run.save()
    for n, member in enumerate(members):
        result_of = {"SUCCESS": 1, "PENDING": None}.get(member, RuntimeError("because"))
        app.backend.store_result(f"{run.pk} {n}", result_of, member)
    found = client.get(f"/api/runs/{run.pk}").json()
    assert (found["state"], found["result"]) == (state, result)


def test_a_run_of_very_many_tasks_is_described_in_part(client: Client) -> None:
    header = [[[f"member {n}", None], None] for n in range(300)]
    run = Run.objects.create(example="chord_of_adds", results=[["body", [["group", None], header]], None])
    app.backend.store_result("body", 7, "SUCCESS")
    found = client.get(f"/api/runs/{run.pk}").json()
    assert (found["result"], len(found["tasks"])) == (7, 200)


def test_not_accepted_without_the_database(client: Client, database_down: None) -> None:
    response = post(client, "delay")
    assert (response.status_code, response.json()["error"]["code"]) == (503, "database_unavailable")


def shell(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tasks.examples", *arguments]
    return subprocess.run(command, cwd=APP, env=BARE, capture_output=True, text=True, check=False)


def test_the_shell_lists_runs_and_refuses() -> None:
    assert "chord_of_adds" in shell().stdout
    assert shell("direct", "x=4").stdout == "7.0\n"
    refused = shell("direct", "x=a")
    assert (refused.returncode, refused.stderr.split(":")[0]) == (1, "x")
