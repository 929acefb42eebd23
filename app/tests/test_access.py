"""With `LOGIN_REQUIRED`, nobody gets past the login without one."""

import base64
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import URLPattern, get_resolver

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery staple"  # noqa: S105 - of a test


@pytest.fixture(autouse=True)
def _closed(settings: Any) -> None:
    settings.LOGIN_REQUIRED = True
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    User.objects.create_user("ann", password=PASSWORD)


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def test_whatever_is_not_meant_to_be_open_is_closed(client: Client) -> None:
    patterns = [one for one in get_resolver().url_patterns if isinstance(one, URLPattern)]
    opened = {one.name for one in patterns if not getattr(one.callback, "login_required", True)}
    assert opened == {"login", "healthz", "readyz", "api-webhooks"}
    for path in ("/", "/recent", "/examples/delay", "/logout"):
        response = client.get(path)
        assert (response.status_code, response["Location"]) == (302, f"/login?next={path}")
    for path in ("/api/tasks", "/api/examples", "/api/openapi.json"):
        response = client.get(path)
        assert (response.status_code, response.json()["error"]["code"]) == (401, "login_required")
    assert client.post("/api/tasks", {"task": "add", "args": [1, 2]}, "application/json").status_code == 401
    assert client.get("/healthz").status_code == 200


def test_a_person_logs_in_and_out(client: Client) -> None:
    wrong = client.post("/login", {"username": "ann", "password": "x"})
    assert b"The name or the password is wrong" in wrong.content
    response = client.post("/login?next=/examples/delay", {"username": "ann", "password": PASSWORD})
    assert (response.status_code, response["Location"]) == (302, "/examples/delay")
    assert b"Log out" in client.get("/").content
    assert client.get("/api/tasks").status_code == 200
    client.post("/logout")
    assert client.get("/").status_code == 302


def test_nobody_is_sent_elsewhere_by_the_login(client: Client) -> None:
    given = {"username": "ann", "password": PASSWORD, "next": "https://elsewhere.example/"}
    assert client.post("/login", given)["Location"] == "/"


def test_a_program_names_its_user(client: Client) -> None:
    body = {"task": "add", "args": [1, 2]}
    sent = client.post("/api/tasks", body, "application/json", headers=basic("ann", PASSWORD))
    assert sent.status_code == 202
    for headers in (basic("ann", "x"), basic("bob", PASSWORD), {"Authorization": "Basic ?"}, {"Authorization": "x y"}):
        assert client.get("/api/tasks", headers=headers).status_code == 401


def test_a_part_of_a_page_loads_all_of_it_when_the_login_has_ended(client: Client) -> None:
    response = client.get("/recent", headers={"HX-Request": "true"})
    assert (response.status_code, response["HX-Refresh"]) == (401, "true")
