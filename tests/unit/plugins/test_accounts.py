"""Accounts of the services, and the addresses that hold their credentials."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

import pytest
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.accounts import (
    SERVICE_SECRETS,
    Accounts,
    account_name,
    previous_accounts,
)

SECRETS = {name: f"s3cret-{name}" for name in (*SERVICE_SECRETS, "celery_flower_password")}


def test_another_password_is_another_account() -> None:
    one, other = (account_name("celery", password, "key") for password in ("one", "other"))
    assert one == account_name("celery", "one", "key") != other
    assert one != account_name("celery", "one", "another key"), "nobody can try passwords by the name alone"
    assert re.fullmatch("celery_[0-9a-f]{8}", one)
    with pytest.raises(ValueError, match="celery is empty"):
        account_name("celery", "", "key")


def test_accounts_with_a_replaced_password_go_and_no_other() -> None:
    wanted = [account_name("celery", "new", "key"), "operator"]
    existing = [*wanted, "celery", "celery_00000000", "celery_beat", "my_celery", "operators", "exporter"]
    assert previous_accounts(existing, wanted) == ["celery", "celery_00000000"]


def test_any_other_credential_is_another_digest() -> None:
    digest = Accounts(SECRETS).digest
    assert digest == Accounts(dict(SECRETS)).digest
    for name in SERVICE_SECRETS:
        assert Accounts(SECRETS | {name: "another"}).digest != digest, name
    assert Accounts(SECRETS | {"celery_flower_password": "x"}).digest == digest, "it is no service's"


AWKWARD = "p@s:s/w#r%25d?;&+,'\" ü"


@pytest.mark.parametrize("broker", ["rabbitmq", "redis"])
@pytest.mark.parametrize("client", ["app", "flower"])
def test_a_password_with_any_character_fits_into_an_address(broker: str, client: str) -> None:
    accounts = Accounts({name: AWKWARD for name in SECRETS})
    urls = [accounts.broker_url(broker, "10.0.0.1", client), accounts.result_url("10.0.0.1")]
    for text in (*urls, accounts.database_url("10.0.0.1")):
        url = urlsplit(text)
        assert url.scheme in ("amqp", "redis", "postgresql")
        assert (url.hostname, unquote(url.password or "")) == ("10.0.0.1", AWKWARD)
        assert not url.query
        assert not url.fragment


def test_the_address_of_the_management_api_has_no_account() -> None:
    """Flower sends an account of that address as it stands, percent-encoded (tornado's client prefers it)."""
    assert Accounts(SECRETS).management_url("10.0.0.1", 15672) == "http://10.0.0.1:15672/api/"


def test_flower_may_not_read_messages_or_results() -> None:
    (flower,) = [user for user in Accounts(SECRETS).redis_users(["celery", "low"]) if user["name"] == "flower"]
    assert "%R~celery* %R~low*" in flower["rules"]
    assert "-lrange" in flower["rules"]
    assert " ~* " not in f" {flower['rules']} "
