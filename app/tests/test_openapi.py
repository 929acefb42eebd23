"""The API does what its description says, whatever it is sent."""

from typing import Any

import pytest
import schemathesis
from django.core.wsgi import get_wsgi_application
from django.test import Client
from django.urls import get_resolver
from hypothesis import HealthCheck, settings
from schemathesis.checks import CHECKS

from tasks import app, openapi

pytestmark = pytest.mark.django_db

# What the description cannot say, such as that a list of arguments fits a task, it must not be blamed for.
NOT_SAID = ("positive_data_acceptance", "negative_data_rejection", "unsupported_method", "ignored_auth")
SOME = r"/api/(tasks|runs|orders|files|examples/(delay|chord_of_adds|hidden_argument))(/\{id\}.*)?$"


schema = schemathesis.openapi.from_wsgi("/api/openapi.json", get_wsgi_application()).include(path_regex=SOME)


@schema.parametrize()
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_the_api_is_as_it_is_described(case: Any) -> None:
    case.call_and_validate(excluded_checks=[CHECKS.get_one(name) for name in NOT_SAID])
    app.control.purge()


def test_every_address_of_the_api_is_described(client: Client) -> None:
    described = client.get("/api/openapi.json").json()
    assert described == openapi.document()
    names = {str(one.pattern).replace("<uuid:", "{").replace(">", "}") for one in get_resolver().url_patterns}
    api = {f"/{name}" for name in names if name.startswith("api/")}
    said = {path.replace("{id}", "{}") for path in described["paths"]}
    for address in api - {"/api/openapi.json", "/api/webhooks", "/api/examples/<str:name}"}:
        assert address.replace("{task_id}", "{}").replace("{run_id}", "{}").replace("{order_id}", "{}") in said
