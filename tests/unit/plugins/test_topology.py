"""Which hosts run what, where services listen, and where their clients find them."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.topology import (
    GROUPS,
    Topology,
    address_of,
    place,
)

SWITCHES = {f"celery_{name}_enabled": True for name in ("beat", "web", "database", "flower")}


def topology(groups: dict[str, list[str]], **variables: Any) -> Topology:
    hosts = sorted({host for members in groups.values() for host in members})
    addresses = {host: f"192.0.2.{number}" for number, host in enumerate(hosts, start=1)}
    return Topology.of(groups, addresses, {"celery_broker": "rabbitmq", **SWITCHES, **variables})


ALONE = {name: ["a"] for name in GROUPS}


def test_one_host_that_runs_everything_listens_on_loopback() -> None:
    alone = topology(ALONE)
    assert alone.alone
    assert alone.listen("a") == ["127.0.0.1"]
    assert alone.endpoints("brokers", "a") == ["127.0.0.1"]
    assert alone.database_clients() == ["127.0.0.1/32"]


def test_a_second_host_finds_the_services_by_address() -> None:
    two = topology(ALONE | {"workers": ["a", "b"]})
    assert two.listen("a") == ["127.0.0.1", "192.0.2.1"]
    assert two.endpoints("brokers", "b") == ["192.0.2.1"]
    assert two.endpoints("brokers", "a") == ["127.0.0.1"], "it is on the broker's host itself"
    assert two.database_clients() == ["127.0.0.1/32", "192.0.2.1/32", "192.0.2.2/32"]


def test_an_ipv6_address_is_a_network_of_one_and_has_brackets_before_a_port() -> None:
    addresses = {"a": "2001:db8::1", "b": "2001:db8::2"}
    groups = {"workers": ["a", "b"], "database": ["a"]}
    two = Topology.of(groups, addresses, SWITCHES | {"celery_broker": "rabbitmq"})
    assert two.database_clients() == ["127.0.0.1/32", "2001:db8::1/128", "2001:db8::2/128"]
    assert place("2001:db8::1", 8000) == "[2001:db8::1]:8000"
    assert place("192.0.2.1", 8000) == "192.0.2.1:8000"


def test_a_host_name_is_no_network() -> None:
    named = Topology.of(
        {"workers": ["a"], "database": ["b"]}, {"a": "db.example", "b": "b"}, SWITCHES | {"celery_broker": "redis"}
    )
    assert named.database_clients() == ["127.0.0.1/32", "db.example"]


@pytest.mark.parametrize(("broker", "expected"), [("rabbitmq", ["rabbitmq"]), ("redis", ["redis"])])
def test_the_broker_is_one_switch(broker: str, expected: list[str]) -> None:
    split = topology({"brokers": ["a"], "results": ["b"], "workers": ["c"]}, celery_broker=broker)
    assert split.services("a") == expected
    assert split.services("b") == ["redis"]
    assert split.services("c") == ["supervisor", "celery"]


def test_a_part_runs_where_it_is_switched_on_and_its_group_has_a_host() -> None:
    off = topology(ALONE, celery_database_enabled=False, celery_flower_enabled=False)
    assert off.services("a") == ["rabbitmq", "redis", "nginx", "supervisor", "celery"]
    assert not off.runs("database")
    without = topology({"brokers": ["a"], "results": ["a"], "workers": ["a"]})
    assert [group for group in GROUPS if without.runs(group)] == ["brokers", "results", "workers"]
    assert without.members["proxy"] == ()


def test_hosts_are_named_once_in_the_order_of_the_groups() -> None:
    groups = {"brokers": ["c"], "results": ["a"], "workers": ["b", "a"], "large": ["z"]}
    assert topology(groups).hosts() == ["c", "a", "b"]
    assert topology(groups).hosts(["workers"]) == ["b", "a"]


@pytest.mark.parametrize(
    ("variables", "address"),
    [
        ({"celery_address": "10.0.0.9", "ansible_host": "x"}, "10.0.0.9"),
        ({"ansible_facts": {"default_ipv4": {"address": "10.0.0.1"}}, "ansible_host": "x"}, "10.0.0.1"),
        (
            {"ansible_facts": {"default_ipv4": {}, "default_ipv6": {"address": "2001:db8::1"}}, "ansible_host": "x"},
            "2001:db8::1",
        ),
        ({"ansible_facts": {}, "ansible_host": "x.example"}, "x.example"),
        ({"celery_address": ""}, "a"),
    ],
)
def test_the_address_of_a_host(variables: dict[str, Any], address: str) -> None:
    assert address_of("a", variables) == address


def test_a_host_in_no_group_of_the_platform_runs_nothing() -> None:
    other = topology({"brokers": ["a"], "results": ["a"], "workers": ["a"], "somebody_elses": ["b"]})
    assert other.services("b") == []
    assert other.hosts() == ["a"]
    assert other.alone


HOSTS = ("a", "b", "c")
SUBSETS = [list(one) for size in (1, 2, 3) for one in itertools.combinations(HOSTS, size)]


@pytest.mark.parametrize("group", ["web", "monitoring"])
@pytest.mark.parametrize("servers", SUBSETS)
@pytest.mark.parametrize("proxies", SUBSETS)
def test_every_proxy_asks_every_server_where_it_listens(group: str, servers: list[str], proxies: list[str]) -> None:
    topo = topology({"workers": [*HOSTS], group: servers, "proxy": proxies})
    for proxy in proxies:
        asked = topo.upstream(group, proxy)
        assert sorted(asked) == servers
        assert next(iter(asked)) == (proxy if proxy in servers else servers[0]), "its own host's is the first"
        for server, address in asked.items():
            assert address == topo.bind(group, server)
            assert address != "127.0.0.1" or server == proxy, "loopback is this host's alone"
        own = topo.upstream(group, proxy, "127.0.0.1")
        assert own == {**asked, **({proxy: "127.0.0.1"} if proxy in servers else {})}
        assert proxy not in servers or "127.0.0.1" in topo.web_binds(proxy), "whichever proxies there are"
    for server in servers:
        assert (topo.bind(group, server) == "127.0.0.1") == (proxies == [server]), "no further than it has to be"
