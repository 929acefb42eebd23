"""The lookups, asked as a task would ask."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.template import Templar, trust_as_template

from tests.unit.rendering import LOADER, Platform

HOSTVARS: dict[str, Any] = {"a": {"health": {"rc": 1}}, "b": {"health": {"rc": 0}}, "c": {}}
LOOKUP = "lookup('celery_on_hosts.platform.host_values'"


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ("'health.rc'", {"a": 1}),
        ("'health'", {"a": {"rc": 1}, "b": {"rc": 0}}),
        ("'health.rc', hosts=['b', 'c']", {}),
        ("'health', hosts=['c', 'd'], missing={}", {"c": {}, "d": {}}),
        ("'nothing'", {}),
    ],
)
def test_values_of_hosts(arguments: str, found: dict[str, Any]) -> None:
    variables = Platform().magic | {"hostvars": HOSTVARS, "ansible_play_hosts_all": ["a", "b", "c"]}
    text = trust_as_template(f"{{{{ {LOOKUP}, {arguments}) }}}}")
    assert Templar(LOADER, variables).template(text) == found


@pytest.mark.parametrize(
    ("hosts", "sizes"),
    [
        ({"a": {}, "b": {}}, ["100%"]),  # the check has failed: nothing was described
        ({"a": {}, "b": {"platform": {"serial": [1, "50%"]}}}, [1, "50%"]),
        ({"a": {"__platform_unpacked": {"ansible_job_id": "1"}, "platform": {"serial": [1]}}}, ["100%"]),
    ],
)
def test_batches(hosts: dict[str, Any], sizes: list[Any]) -> None:
    variables = Platform().magic | {"hostvars": hosts, "ansible_play_hosts_all": list(hosts)}
    text = trust_as_template("{{ lookup('celery_on_hosts.platform.batches', wantlist=true) }}")
    assert Templar(LOADER, variables).template(text) == sizes
