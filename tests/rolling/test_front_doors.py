"""Two web sides behind two front doors, and Flower on one of the hosts. The hosts are this test's own.

`make rolling ARGS='-k front_doors'` takes five minutes.
"""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import yaml

from tests.hosts.support import ROOT, eventually
from tests.rolling.test_rolling import Lab

ALONE = ("brokers", "results", "database", "workers", "beat")
GROUPS = {
    **{group: ["celery1"] for group in ALONE},
    **{"web": ["celery1", "web2"], "proxy": ["celery1", "web2"], "monitoring": ["web2"]},
}
FIRST = GROUPS | {"web": ["celery1"], "proxy": ["celery1"]}
# Asks this host's nginx, from outside of loopback, and counts the statuses.
ASK = """
import collections, http.client, json, socket
seen = collections.Counter()
for _ in range(20):
    door = http.client.HTTPConnection(socket.gethostbyname(socket.gethostname()), 80, timeout=20)
    door.request("GET", "PATH", headers={"X-Forwarded-For": "203.0.113.5"})
    seen[door.getresponse().status] += 1
print(json.dumps(seen))
"""
# Asks this host's nginx until it is told to stop, and leaves the counts of statuses behind.
LOAD = """
import collections, http.client, json, os, time
seen = collections.Counter()
while not os.path.exists("/root/load.stop"):
    door = http.client.HTTPConnection("127.0.0.1", 80, timeout=60)
    door.request("GET", "/")
    seen[door.getresponse().status] += 1
    door.close()
    time.sleep(0.02)
json.dump(seen, open("/root/load.json", "w"))
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two hosts that are deployed to once, with one front door, and removed in the end."""
    inventory = ROOT / ".cache/front_doors/inventory"
    lab = Lab(inventory)
    if inventory.exists():  # of a run that was cut off
        lab.make("destroy")
    shutil.rmtree(inventory, ignore_errors=True)
    left_out = shutil.ignore_patterns(".lab", "lab_hosts.yml", "secrets")
    shutil.copytree(ROOT / "inventories/lab-workers", inventory, ignore=left_out)
    describe(lab, FIRST)
    try:
        lab.make("deploy")
        yield lab
    finally:
        lab.make("destroy")


def describe(lab: Lab, groups: dict[str, list[str]]) -> None:
    """Write the inventory's hosts."""
    members: dict[str, dict[str, Any]] = {
        name: {"hosts": {host: {} for host in hosts}} for name, hosts in groups.items()
    }
    hosts = {"lab": {"hosts": {"celery1": {}, "web2": {}}, "vars": {"lab_debian": 13}}, **members}
    (lab.inventory / "hosts.yml").write_text(yaml.safe_dump(hosts))


def answers_meanwhile(lab: Lab, groups: dict[str, list[str]]) -> Counter[str]:
    """How often nginx of the first host answered what while the groups change."""
    lab.run("celery1", f"rm -f /root/load.*; systemd-run --quiet --unit load python3 -c '{LOAD}'")
    describe(lab, groups)
    try:
        lab.make("deploy")
    finally:
        lab.run("celery1", "touch /root/load.stop; while systemctl -q is-active load; do sleep 0.1; done")
    return Counter(json.loads(lab.run("celery1", "cat /root/load.json")))


def test_a_second_front_door_costs_no_request(lab: Lab) -> None:
    """The web side listens at the host's address from now on, and nginx asks it where it did before."""
    answered = answers_meanwhile(lab, GROUPS)
    assert sum(answered.values()) > 100
    assert not [status for status in answered if int(status) >= 500], answered


def statuses(lab: Lab, proxy: str, path: str = "/") -> Counter[str]:
    """How often nginx of a host answered what."""
    return Counter(json.loads(lab.run(proxy, f"python3 -c '{ASK.replace('PATH', path)}'")))


def served(lab: Lab, host: str, path: str) -> list[str]:
    """The addresses of the clients who asked a web side for a page."""
    log = lab.run(host, "cat /var/log/celery/web.stdout.log")
    return [line.split()[0] for line in log.splitlines() if f'"GET {path} ' in line]


def test_every_front_door_asks_every_web_side(lab: Lab) -> None:
    path = f"/?front_doors{time.time_ns()}"
    for proxy in GROUPS["proxy"]:
        answered = statuses(lab, proxy, path)
        assert sum(answered.values()) == 20
        assert not [status for status in answered if int(status) >= 500], answered
    for host in GROUPS["web"]:
        clients = eventually(partial(served, lab, host, path), lambda clients: len(clients) >= 20, within=10)
        assert len(clients) == 20, f"half of the requests of each of two front doors, on {host}"
        assert len(set(clients)) == 2, "the proxies' clients, whom nginx names"
        assert "203.0.113.5" not in clients, "nobody else is believed"


def test_both_proxies_reach_the_only_flower(lab: Lab) -> None:
    assert [statuses(lab, proxy, "/flower/") for proxy in GROUPS["proxy"]] == [{"401": 20}, {"401": 20}]


def test_status_shows_each_front_door(lab: Lab) -> None:
    said = lab.make("status")
    door = next(line for line in said.splitlines() if line.startswith("HOST ")).index("FRONT DOOR")
    for proxy in GROUPS["proxy"]:
        line = next(line for line in said.splitlines() if line.split()[:2] == [proxy, "healthy"])
        assert line[door:].startswith("web flower "), line


def test_a_dead_web_side_costs_no_request_and_is_named(lab: Lab) -> None:
    lab.run("web2", "supervisorctl stop web")
    try:
        for proxy in GROUPS["proxy"]:
            answered = statuses(lab, proxy)
            assert not [status for status in answered if int(status) >= 500], answered
        said = lab.make("status", works=False)
        for proxy in GROUPS["proxy"]:
            assert f"✗ {proxy}: front door web on web2: " in said
        assert "front door web on celery1" not in said
    finally:
        lab.run("web2", "supervisorctl start web")


def test_a_deployment_does_not_pass_where_one_of_two_is_out_of_reach(lab: Lab) -> None:
    """The web side itself is healthy on its host, and the other one answers for it."""
    drop = "nft 'add table inet front; add chain inet front in {type filter hook input priority 0;}; "
    drop += "add rule inet front in iifname != lo tcp dport 8000 drop'"
    lab.run("web2", drop)
    try:
        said = lab.make("deploy", """ARGS=-e '{"celery_health_timeout": 15}'""", works=False)
        assert "front door web on web2: " in said
        assert "answers 504" in said
        assert "Celery runs" not in said
    finally:
        lab.run("web2", "nft delete table inet front")
    said = lab.make("deploy")
    assert "Celery runs" in said
    assert "nothing to change" in said, "what was refused was the network's fault, and is deployed"


def test_without_the_second_front_door_no_request_is_lost(lab: Lab) -> None:
    """The web side listens at loopback alone again."""
    answered = answers_meanwhile(lab, FIRST)
    assert sum(answered.values()) > 100
    assert not [status for status in answered if int(status) >= 500], answered
