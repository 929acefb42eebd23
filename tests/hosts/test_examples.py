"""Each example of the application, as its page suggests it, on this platform and its broker."""

from __future__ import annotations

import pytest

from tests.hosts.support import Site, eventually, once

pytestmark = [once, pytest.mark.needs("web")]

# What an example is there to show, if not a success. What stays PENDING has no result on purpose.
ENDS = {
    **dict.fromkeys(["hidden_argument", "ignore_result", "ignored", "pending", "pickle_is_refused"], "PENDING"),
    **dict.fromkeys(["chain_that_fails", "chord_that_fails", "failure", "get_raises", "link_error"], "FAILURE"),
    **dict.fromkeys(["throws", "time_limit", "unchecked_arguments", "wrong_arguments"], "FAILURE"),
    **dict.fromkeys(["expires", "revoked", "terminated"], "REVOKED"),
    "own_state": "SKIPPED",
    "store_memcached": "FAILURE",  # there is none on the host
}
# Where messages are signed, one that is not is refused.
UNSIGNED = ("serializer", "unsigned")


def test_each_example_comes_to_its_end(site: Site) -> None:
    """One after the other, for some of them wait for their task while somebody waits for the page."""
    examples = site.http("/api/examples").json()["examples"]
    assert {example["name"] for example in examples} > ENDS.keys()
    ends = ENDS | (dict.fromkeys(UNSIGNED, "PENDING") if "signing" in site.platform.features else {})
    try:
        for example in examples:
            answer = site.http(example["url"], body={"arguments": {}})
            assert answer.status == 202, (example["name"], answer)
            reaches(site, answer.json()["url"], ends.get(example["name"], "SUCCESS"))
    finally:
        site.run("celery-dead drop --all --yes")  # other tests look at the dead letters


def reaches(site: Site, url: str, state: str) -> None:
    """Wait until a run has this state."""
    eventually(lambda: site.http(url).json(), lambda run: run["state"] == state, within=60)
