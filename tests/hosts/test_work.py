"""Real work on a deployed host: a file on its way through the database, and URLs that lead nowhere they should not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.hosts.support import Site, eventually, once

pytestmark = [once, pytest.mark.needs("web")]


def run(site: Site, example: str, **arguments: Any) -> dict[str, Any]:
    """Run an example to its end."""
    accepted = site.http(f"/api/examples/{example}", body={"arguments": arguments})
    assert accepted.status == 202, accepted
    done: dict[str, Any] = eventually(lambda: site.http(accepted.json()["url"]).json(), lambda found: found["ready"])
    return done


def test_a_thumbnail_is_made_and_served(site: Site) -> None:
    """By a worker, which finds the file where the web side has put it."""
    image = run(site, "small_picture")["result"]["image"]
    ask = f"urllib.request.urlopen('http://localhost:80{image}').headers['Content-Type']"
    assert site.python(f"import json, urllib.request; print(json.dumps({ask}))") == "image/webp"


def test_a_report_is_built_by_a_chord(site: Site) -> None:
    """Under the id of the task that was called."""
    assert run(site, "report_of_a_table")["result"]["totals"].keys() == {"tea", "coffee", "cocoa"}


def test_the_page_of_this_host_may_be_asked(site: Site) -> None:
    """For the inventory says so; and its webhooks arrive."""
    assert run(site, "check_a_url", url="http://localhost:80/healthz")["result"]["status"] == 200
    run(site, "webhook_at_the_end", url="http://localhost:80/api/webhooks")
    eventually(lambda: site.run("grep -h 'received the webhook' /var/log/celery/*.log", status=None), bool)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "169.254.169.254", "{address}", "2130706433", "[::ffff:7f00:1]"]
)
def test_nothing_else_of_the_network_may(site: Site, host: str) -> None:
    """Not under any name that this host has."""
    address = site.run("hostname -I").split()[0]
    found = run(site, "check_a_url", url=f"http://{host.format(address=address)}/")
    assert [task["error"]["type"] for task in found["tasks"]] == ["Refused"], found
