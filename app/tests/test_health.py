import pytest
from django.test import Client


def test_healthz_touches_nothing(client: Client, broker_down: None, results_down: None, database_down: None) -> None:
    response = client.get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok", "release": "r-test"})


def test_healthz_answers_on_loopback_under_any_of_its_names(client: Client) -> None:
    for host in ("localhost", "127.0.0.1:8000", "[::1]"):
        assert client.get("/healthz", headers={"host": host}).status_code == 200
    assert client.get("/healthz", headers={"host": "evil.example"}).status_code == 400


@pytest.mark.django_db
def test_ready(client: Client) -> None:
    response = client.get("/readyz")
    assert response.status_code == 200
    assert response.json() == {
        "status": "ok",
        "checks": {"broker": "ok", "results": "ok", "database": "ok"},
        "release": "r-test",
    }


@pytest.mark.django_db
@pytest.mark.parametrize("part", ["broker", "results", "database"])
def test_not_ready_says_which_part_and_no_more(client: Client, request: pytest.FixtureRequest, part: str) -> None:
    request.getfixturevalue(f"{part}_down")
    response = client.get("/readyz")
    assert response.status_code == 503
    assert [name for name, found in response.json()["checks"].items() if found != "ok"] == [part]
    assert b"secret" not in response.content
    assert b"10.0.0.9" not in response.content
