"""What the roles write on a host: rendered, read back by a parser of its format, and checked for its meaning."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible.template import trust_as_template
from ansible_collections.celery_on_hosts.platform.plugins.lookup import batches as batches_lookup
from ansible_collections.celery_on_hosts.platform.plugins.lookup import rsa_key
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.names import RABBITMQ_DEFINITIONS
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.unit.rendering import GROUPS, ROLES, SECRETS, Platform, plays, role_tasks

WORKERS: list[dict[str, Any]] = [
    {"name": "celery", "queues": ["celery"]},
    {"name": "low", "queues": ["low", "mail"], "concurrency": 2, "time_limit": 1200, "prefetch_multiplier": 4},
    {"name": "io", "queues": ["io"], "pool": "threads", "concurrency": 8, "environment": {"NOTE": "it's 100% $HOME"}},
    {"name": "net", "queues": ["net"], "pool": "gevent", "concurrency": 100},
    {"name": "one", "queues": ["one"], "pool": "solo", "loglevel": "WARNING", "arguments": ["--without-gossip"]},
]
AWKWARD = {
    "QUOTES": 'it\'s "quoted"',
    "SHELL": "$HOME `id` \\n;#",
    "URL": "https://a/?b=%20&c",
    "EMPTY": "",
    "UMLAUT": "grün",
    "KEY": "-----BEGIN KEY-----\nit's\n-----END KEY-----\n",
}
CASES = {
    f"{broker}, Debian {debian}, {len(workers)} workers": {
        "debian": debian,
        "celery_broker": broker,
        "celery_workers": workers,
    }
    for broker in ("rabbitmq", "redis")
    for debian in (12, 13)
    for workers in (WORKERS[:1], WORKERS)
}


@pytest.fixture(params=list(CASES.values()), ids=list(CASES), scope="module")
def platform(request: pytest.FixtureRequest) -> Platform:
    return Platform(**request.param)


def sections(text: str) -> configparser.RawConfigParser:
    """A file of supervisord's; two sections of one name are an error."""
    parser = configparser.RawConfigParser(strict=True, interpolation=None)
    parser.read_string(text)
    return parser


def programs(platform: Platform, role: str = "celery") -> dict[str, Mapping[str, str]]:
    return {
        name.removeprefix("program:"): section
        for name, section in sections(platform.programs(role)).items()
        if name != "DEFAULT"
    }


def settings(platform: Platform) -> dict[str, Any]:
    return dict(json.loads(platform.text("celery", "/etc/celery/platform.json")))


# --- supervisord's programs ------------------------------------------------------------------------------------------


def test_each_program_has_its_section(platform: Platform) -> None:
    workers = [worker["name"] for worker in platform.inventory["celery_workers"]]
    names = ["celery", *(f"celery-{name}" for name in workers[1:]), "celerybeat", "web"]
    assert list(programs(platform)) == names
    assert list(programs(platform, "flower")) == ["flower"]


def test_the_stop_signal_spares_the_children(platform: Platform) -> None:
    for name, program in (programs(platform) | programs(platform, "flower")).items():
        assert program["stopsignal"] == "TERM", name
        assert program["stopasgroup"] == "false", name
        assert program["killasgroup"] == "true", name
        assert program["autorestart"] == "true", name
        assert int(program["startretries"]) > 10_000, name


def test_a_worker_has_longer_to_stop_than_its_tasks_to_run(platform: Platform) -> None:
    for name, program in programs(platform).items():
        words = shlex.split(program["command"])
        if "worker" in words:
            limits = [int(word.split("=")[1]) for word in words if word.startswith("--time-limit=")]
            limit = max([*limits, settings(platform)["settings"]["task_time_limit"]])
            assert int(program["stopwaitsecs"]) > limit, name


def test_systemd_waits_until_every_program_has_stopped(platform: Platform) -> None:
    unit = platform.text("supervisor", "/etc/systemd/system/supervisor.service.d/celery.conf")
    brokers = ["rabbitmq-server.service"] if platform.inventory["celery_broker"] == "rabbitmq" else []
    after = " ".join(["network-online.target", *brokers, "redis-server.service", "postgresql.service"])
    assert f"After={after}\n" in unit, "supervisord stops before what the programs need"
    wait = int(re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)[0])
    by_priority: dict[int, int] = {}
    for program in (programs(platform) | programs(platform, "flower")).values():
        priority = int(program["priority"])
        by_priority[priority] = max(by_priority.get(priority, 0), int(program["stopwaitsecs"]))
    assert wait > sum(by_priority.values())


def test_a_worker_gets_the_options_of_its_entry() -> None:
    found = programs(Platform(celery_workers=WORKERS))
    command = {name: shlex.split(program["command"].replace("%%", "%")) for name, program in found.items()}
    start = ["/usr/local/bin/celery", "-A", "tasks", "worker"]
    assert command["celery-low"] == [
        *start,
        *("--hostname=low@%h", "--queues=low,mail", "--pool=prefork", "--concurrency=2", "--prefetch-multiplier=4"),
        *("--time-limit=1200", "--soft-time-limit=240", "--loglevel=INFO"),
    ]
    assert int(found["celery-low"]["stopwaitsecs"]) == 1260
    assert command["celery-io"][4:] == [
        "--hostname=io@%h",
        "--queues=io",
        "--pool=threads",
        "--concurrency=8",
        "--loglevel=INFO",
    ]
    assert "--pool=gevent" in command["celery-net"]
    assert command["celery-one"][-2:] == ["--loglevel=WARNING", "--without-gossip"]


def test_a_percent_sign_is_not_supervisords(platform: Platform) -> None:
    for name, program in programs(platform).items():
        for key, value in program.items():
            assert "%" not in value.replace("%%", ""), f"{name}: {key}"


def test_every_program_changes_when_the_environment_does() -> None:
    before, after = programs(Platform()), programs(Platform(celery_app_environment={"DEBUG": "1"}))
    for name in before:
        assert before[name]["environment"] != after[name]["environment"], name


def test_workers_run_djangos_checks_as_under_plain_celery() -> None:
    platform = Platform()
    assert not any("CELERY_SKIP_CHECKS" in one["environment"] for one in programs(platform).values())
    assert "CELERY_SKIP_CHECKS" not in platform.text("celery", "/etc/celery/environment")


def test_a_workers_own_environment_changes_that_worker_alone() -> None:
    changed = [dict(worker) for worker in WORKERS]
    changed[2]["environment"] = {"NOTE": "another"}
    before, after = programs(Platform(celery_workers=WORKERS)), programs(Platform(celery_workers=changed))
    assert [name for name in before if before[name] != after[name]] == ["celery-io"]


@pytest.mark.parametrize("workers", [WORKERS[:1], WORKERS], ids=["one", "several"])
def test_another_worker_leaves_the_others_as_they_are(workers: list[dict[str, Any]]) -> None:
    more = [*workers, {"name": "more", "queues": ["celery"]}]
    before, after = programs(Platform(celery_workers=workers)), programs(Platform(celery_workers=more))
    assert [name for name in before if before[name] != after[name]] == []
    assert [name for name in after if name not in before] == ["celery-more"]


@pytest.mark.parametrize(
    ("group", "expected"),
    [("workers", ["celery"]), ("beat", ["celerybeat"]), ("web", ["web"])],
)
def test_a_host_runs_what_it_is_listed_under(group: str, expected: list[str]) -> None:
    groups = {name: ["b" if name == group else "a"] for name in GROUPS}
    assert list(programs(Platform(groups=groups, host="b"))) == expected


# --- the application's environment and the runtime's configuration ---------------------------------------------------


def test_the_environment_reads_in_a_shell_as_it_was_set() -> None:
    platform = Platform(celery_app_environment=AWKWARD)
    text = platform.text("celery", "/etc/celery/environment")
    script = f"set -a\n{text}set +a\n" + "".join(f"printf '%s\\0' \"${name}\"\n" for name in AWKWARD)
    run = subprocess.run(["sh", "-eu", "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.split("\0")[:-1] == list(AWKWARD.values())


def test_a_workers_own_environment_is_a_file_of_its_own() -> None:
    files = Platform(celery_workers=WORKERS).files("celery")
    text = files["/etc/celery/celery-io.environment"]["secret"]
    run = subprocess.run(["sh", "-c", f'{text}printf %s "$NOTE"'], capture_output=True, text=True, check=True)
    assert run.stdout == "it's 100% $HOME"
    assert "/etc/celery/celery-low.environment" not in files


def test_the_runtime_is_told_what_runs_here(platform: Platform) -> None:
    told = settings(platform)
    broker = platform.inventory["celery_broker"]
    workers = platform.inventory["celery_workers"]
    assert told["broker"] == broker
    assert told["queues"] == list(dict.fromkeys(queue for worker in workers for queue in worker["queues"]))
    assert told["queue_arguments"] == ({"x-queue-type": "quorum"} if broker == "rabbitmq" else {})
    assert [entry["program"] for entry in told["programs"]] == [*programs(platform), "flower"]
    assert [entry["node"] for entry in told["programs"] if entry["kind"] == "worker"] == [
        f"{worker['name']}@a" for worker in workers
    ]
    assert all(entry["queues"] for entry in told["programs"] if entry["kind"] == "worker")


def test_the_settings_keep_accepted_tasks(platform: Platform) -> None:
    safe = settings(platform)["settings"]
    assert safe["task_acks_late"] is True
    assert safe["task_reject_on_worker_lost"] is True
    assert safe["task_create_missing_queues"] is False
    assert safe["accept_content"] == safe["result_accept_content"] == ["json"]
    assert safe["broker_connection_max_retries"] is None
    options = safe["broker_transport_options"]
    if platform.inventory["celery_broker"] == "rabbitmq":
        assert options["confirm_publish"] is True
        assert safe["worker_detect_quorum_queues"] is True
    else:
        assert (options["visibility_timeout"], options["delivery_limit"]) == (30, 20)
        assert safe["task_retry_on_worker_lost"] is False
        assert safe["worker_prefetch_multiplier"] == 1


def test_numbers_stay_numbers(platform: Platform) -> None:
    def check(where: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                check(f"{where}.{key}", item)
        elif isinstance(value, str):
            assert not re.fullmatch(r"\d+|[Tt]rue|[Ff]alse|None|null", value), f"{where} is the text {value!r}"

    check("settings", settings(platform)["settings"])


# --- brokers, database, front door -----------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [WORKERS[:1], WORKERS], ids=["one", "several"])
def test_rabbitmq_gets_users_and_policies_and_no_guest(workers: list[dict[str, Any]]) -> None:
    platform = Platform(celery_workers=workers)
    text = platform.text("rabbitmq", "/etc/rabbitmq/definitions.json")
    definitions = json.loads(text)
    names = [user["name"] for user in definitions["users"]]
    assert [re.sub(r"_[0-9a-f]{8}$", "_…", name) for name in names] == ["celery_…", "operator", "flower_…"]
    assert all(user["password_hash"] and "password" not in user for user in definitions["users"])
    assert not [secret for secret in SECRETS.values() if secret in text]
    assert {entry["user"] for entry in definitions["permissions"]} == set(names)
    queues = {queue["name"] for queue in definitions["queues"]}
    assert queues == {"celery.dead", "celery.unroutable"} == {entry["source"] for entry in definitions["bindings"]}


def test_another_password_is_another_account_where_a_server_takes_one() -> None:
    def accounts(platform: Platform) -> list[str]:
        users = json.loads(platform.text("rabbitmq", "/etc/rabbitmq/definitions.json"))["users"]
        return [user["name"] for user in users] + [platform.variable("postgresql", "postgresql_login")]

    changed: dict[str, Any] = {
        f"celery_{name}_password": "another" for name in ("rabbitmq", "rabbitmq_operator", "database")
    }
    before, same, after = accounts(Platform()), accounts(Platform()), accounts(Platform(**changed))
    assert before == same
    assert [one == other for one, other in zip(before, after, strict=True)] == [False, True, True, False]
    environment = Platform(**changed).text("celery", "/etc/celery/environment")
    assert f"amqp://{after[0]}:another@" in environment
    assert f"postgresql://{after[-1]}:another@" in environment


@pytest.mark.parametrize("by_policy", [False, True])
def test_a_rabbitmq_of_others_gets_definitions_and_nothing_else(by_policy: bool) -> None:
    """The platform's users see and change nothing in the virtual hosts of others."""
    platform = Platform(__platform_conflicts={"beside": ["rabbitmq"], "timeout_by_policy": by_policy})
    files = platform.files("rabbitmq")
    del files["/etc/systemd/system/epmd.socket.d/celery.conf"]  # of a task that is left out
    ((path, entry),) = files.items()
    assert path == RABBITMQ_DEFINITIONS
    definitions = json.loads(entry["secret"])
    assert [user["tags"] for user in definitions["users"]] == ["", "policymaker", "management"]
    (policy,) = [entry["definition"] for entry in definitions["policies"] if entry["name"] == "tasks"]
    assert policy.get("consumer-timeout") == (3_600_000 if by_policy else None)


def test_rabbitmq_users_with_a_replaced_password_go_and_no_other() -> None:
    platform = Platform()
    wanted = [user["name"] for user in platform.described()["rabbitmq"]["users"]]
    others = ["celery", "celery_00000000", "flower_ffffffff", "exporter", "celery_beat", "my_celery", "operators"]
    listed = json.dumps([{"user": name, "tags": []} for name in [*wanted, *others]])
    (text,) = [task["loop"] for task in role_tasks("rabbitmq") if "loop" in task]
    replaced = platform.value("rabbitmq", text, __rabbitmq_users={"stdout": listed})
    assert replaced == ["celery", "celery_00000000", "flower_ffffffff"]


def test_rabbitmqs_policies_reach_every_queue_and_no_other() -> None:
    queues = ["celery", "low", "a.b"]
    platform = Platform(celery_workers=[{"name": "celery", "queues": queues}])
    policies = {
        entry["name"]: entry
        for entry in json.loads(platform.text("rabbitmq", "/etc/rabbitmq/definitions.json"))["policies"]
    }
    pattern = re.compile(policies["tasks"]["pattern"])
    assert all(pattern.search(queue) for queue in queues)
    assert not [
        name for name in ("celery.dead", "celeryev.x", "aXb", "low2", "celery@a.celery.pidbox") if pattern.search(name)
    ]
    assert policies["tasks"]["definition"]["dead-letter-exchange"] == "celery.dead"
    assert policies["tasks"]["definition"]["delivery-limit"] == 20
    (found,) = [name for name, policy in policies.items() if re.search(policy["pattern"], "celery.dead")]
    assert re.search(policies[found]["pattern"], "celery.unroutable")
    assert policies[found]["definition"] == {"delivery-limit": 2**31 - 1}, "RabbitMQ 4 would drop after 20 looks"
    exchanges = re.compile(policies["unroutable"]["pattern"])
    assert all(exchanges.search(name) for name in [*queues, "celery_delayed_27", "celery_delayed_delivery"])


def test_flower_may_not_touch_the_queues() -> None:
    definitions = json.loads(Platform(celery_workers=WORKERS).text("rabbitmq", "/etc/rabbitmq/definitions.json"))
    (flower,) = [entry for entry in definitions["permissions"] if entry["user"].startswith("flower_")]
    for right in ("configure", "write", "read"):
        allowed = re.compile(flower[right])
        assert not [name for name in ("celery", "low", "celery.dead", "amq.default") if allowed.search(name)], right


def test_rabbitmq_listens_on_loopback_when_it_is_alone(platform: Platform) -> None:
    text = platform.text("rabbitmq", "/etc/rabbitmq/rabbitmq.conf")
    assert re.findall(r"^listeners\.tcp\.\d+ = (\S+)$", text, re.MULTILINE) == ["127.0.0.1:5672"]
    limit = int(re.findall(r"^consumer_timeout = (\d+)$", text, re.MULTILINE)[0])
    assert limit > 1000 * platform.variable("celery", "celery_stop_wait")


def test_redis_keeps_what_it_accepts_and_asks_for_a_password(platform: Platform) -> None:
    lines = platform.text("redis", "/etc/redis/redis.conf").splitlines()
    assert "appendonly yes" in lines
    assert "appendfsync always" in lines
    assert "maxmemory-policy noeviction" in lines
    assert "maxmemory 976mb" in lines, "a quarter of 3936 MB, in steps of 16"
    assert "bind 127.0.0.1" in lines
    rules = redis_rules(platform)
    assert list(rules) == ["celery", "operator", "flower"]
    assert not [rule for said in rules.values() for rule in said.split() if rule[0] in ">#" or rule == "nopass"]


def redis_rules(platform: Platform) -> dict[str, str]:
    """What each user of Redis may do."""
    return {user["name"]: user["rules"] for user in platform.arguments("redis", "redis_users")[0]["users"]}


def test_redis_accounts_may_not_administer() -> None:
    rules = redis_rules(Platform(celery_broker="redis"))
    for name in ("celery", "flower"):
        assert "-@admin" in rules[name]
        assert "-@dangerous" in rules[name]


@pytest.mark.parametrize(("debian", "version"), [(12, 15), (13, 17)])
def test_postgresql_is_debians_and_asks_for_a_password(debian: int, version: int) -> None:
    platform = Platform(debian=debian)
    etc = f"/etc/postgresql/{version}/main"
    assert "listen_addresses = '127.0.0.1'" in platform.text("postgresql", f"{etc}/conf.d/celery.conf")
    rules = [
        line.split()
        for line in platform.text("postgresql", f"{etc}/pg_hba.conf").splitlines()
        if not line.startswith("#")
    ]
    assert rules == [
        ["local", "all", "postgres", "peer", "map=administrators"],
        ["host", "celery", "+celery", "127.0.0.1/32", "scram-sha-256"],
    ]


def test_a_postgresql_of_others_gets_our_rules_and_nothing_else() -> None:
    platform = Platform(__platform_conflicts={"beside": ["postgresql"]})
    ((path, entry),) = platform.files("postgresql").items()
    assert path == "/etc/postgresql/17/main/pg_hba.conf"
    assert entry["block"] == "host celery +celery 127.0.0.1/32 scram-sha-256\n"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, {"url": "http://127.0.0.1:8000/", "host": "a", "below": 500}),
        ({"celery_web_host": "tasks.example.org"}, {"host": "tasks.example.org", "below": 500}),
        ({"celery_web_health_path": "/health/"}, {"url": "http://127.0.0.1:8000/health/", "host": "a", "below": 400}),
    ],
)
def test_the_web_side_is_asked_for_a_page_that_it_has(variables: dict[str, Any], expected: dict[str, Any]) -> None:
    programs = json.loads(Platform(**variables).text("celery", "/etc/celery/platform.json"))["programs"]
    (web,) = [program for program in programs if program["kind"] == "web"]
    assert web | expected == web


def test_the_web_side_is_asked_by_the_front_doors_name() -> None:
    groups = {name: ["a"] for name in GROUPS} | {"web": ["b"], "proxy": ["c"]}
    programs = json.loads(Platform(groups=groups, host="b").text("celery", "/etc/celery/platform.json"))["programs"]
    assert [(one["program"], one["url"], one["host"]) for one in programs] == [("web", "http://192.0.2.2:8000/", "c")]


def test_the_front_door_passes_on_what_runs() -> None:
    def paths(**variables: Any) -> list[str]:
        text = Platform(**variables).text("nginx", "/etc/nginx/conf.d/celery.conf")
        assert text.count("{") == text.count("}")
        return re.findall(r"location (\S+) \{", text)

    assert paths() == ["/", "/flower/"]
    assert paths(celery_flower_enabled=False) == ["/"]
    assert paths(celery_web_enabled=False) == ["/flower/"]


# --- groups that are left out ----------------------------------------------------------------------------------------


def without(*left_out: str, **groups: list[str]) -> Platform:
    """A single host, with groups that the inventory does not have."""
    members = {name: ["a"] for name in GROUPS if name not in left_out} | groups
    platform = Platform(groups=members)
    for known in platform.magic["hostvars"].values():
        known["__platform_health"] = {"rc": 0}
        known["ansible_facts"]["ansible_local"] = {}
    return platform


def summary(platform: Platform) -> str:
    """What is said at the end of a deployment."""
    return str(platform.described()["summary"])


@pytest.fixture(scope="module")
def everything() -> Platform:
    return without()


@pytest.mark.parametrize(
    ("group", "program", "said"),
    [
        ("beat", "celerybeat", "Not run            beat: no host is in this group"),
        ("web", "web", "Not run            web: no host is in this group"),
        ("monitoring", "flower", "Not run            monitoring: no host is in this group"),
        ("database", "", "Not run            database: no host is in this group"),
        ("proxy", "", "http://127.0.0.1:8000/ on a alone: no host is in the group proxy"),
    ],
)
def test_a_group_that_is_left_out_leaves_its_part_out(
    everything: Platform, group: str, program: str, said: str
) -> None:
    rest = without(group)
    gone = {"monitoring": {"flower"}, "database": {"postgresql"}, "proxy": {"nginx"}}.get(group, set())
    for role in {"rabbitmq", "redis", "postgresql", "supervisor", "celery", "flower", "nginx"} - gone:
        assert rest.files(role).keys() == everything.files(role).keys(), role
    assert set(everything.described()["services"]) - set(rest.described()["services"]) == gone
    kept = [name for name in everything.described()["programs"]["all"] if name != program]
    assert rest.described()["programs"]["all"] == kept
    watched = json.loads(rest.text("celery", "/etc/celery/platform.json"))["programs"]
    assert [entry["program"] for entry in watched] == kept
    assert ("DATABASE_URL" in rest.text("celery", "/etc/celery/environment")) is (group != "database")
    assert said in summary(rest)
    assert said not in summary(everything)


def test_what_to_try_next_is_something_that_the_application_has(tmp_path: Path) -> None:
    """An application of the same name may have no task `add`."""
    assert "from tasks import add" in summary(without())
    somebodys = summary(Platform(celery_app_source=str(tmp_path)))
    assert "add" not in somebodys.replace("address", "")
    assert "make ssh CMD='celery -A tasks inspect registered'" in somebodys


def test_the_least_that_an_inventory_has() -> None:
    platform = without("database", "beat", "web", "monitoring", "proxy")
    assert "Not run            beat, web, database, monitoring: no host is in these groups" in summary(platform)
    assert "http://127" not in summary(platform)
    described = platform.described()
    assert described["programs"]["all"] == ["celery"]
    assert described["packages"] == ["logrotate", "python3-redis", "rabbitmq-server", "redis-server", "supervisor"]


@pytest.mark.parametrize(
    ("proxy", "listens", "asked"),
    [
        ([], ["127.0.0.1", "127.0.0.1"], None),
        (["a"], ["127.0.0.1", "127.0.0.1"], "127.0.0.1"),
        (["b"], ["192.0.2.1", "192.0.2.1"], "192.0.2.1"),
        (["a", "b"], ["192.0.2.1", "192.0.2.1"], "192.0.2.1"),
    ],
)
def test_the_network_reaches_only_what_nginx_asks_over_it(
    proxy: list[str], listens: list[str], asked: str | None
) -> None:
    topology = without(proxy=proxy).model().topology
    assert [topology.bind(group, "a") for group in ("web", "monitoring")] == listens
    for host in proxy:
        found = [topology.upstream(group, host) for group in ("web", "monitoring")]
        assert found == [{"a": asked}, {"a": asked}], "nginx asks where they listen"


@pytest.mark.parametrize("broker", ["rabbitmq", "redis"])
def test_hosts_with_ipv6_alone(broker: str) -> None:
    """An address before a port is in brackets where the reader wants them, and a network of one has 128 bits."""
    groups = {**{name: ["a"] for name in GROUPS}, "workers": ["a", "b"], "web": ["a", "b"], "proxy": ["a", "b"]}
    facts = {
        name: {"ansible_facts": {"default_ipv4": {}, "default_ipv6": {"address": f"2001:db8::{number}"}}}
        for number, name in enumerate("ab", start=1)
    }
    hosts = {name: Platform(groups=groups, host=name, celery_broker=broker) for name in "ab"}
    for platform in hosts.values():
        platform.magic["hostvars"] = facts
    one, two = hosts["a"].described(), hosts["b"].described()
    environment = str(two["celery"])
    for url in ("@[2001:db8::1]:6379/1", "@[2001:db8::1]:5432/celery"):
        assert url in environment
    assert ("@[2001:db8::1]:5672/celery" if broker == "rabbitmq" else "@[2001:db8::1]:6379/0") in environment
    (side,) = [upstream for upstream in one["nginx"]["upstreams"] if upstream["name"] == "celery_web"]
    assert side["servers"] == ["127.0.0.1:8000", "[2001:db8::2]:8000"]
    assert "--bind [2001:db8::2]:8000 --bind 127.0.0.1:8000" in environment.replace("'", "")
    assert "http://[2001:db8::2]:8000/" in environment
    assert one["postgresql"]["allow_from"] == ["127.0.0.1/32", "2001:db8::1/128", "2001:db8::2/128"]
    assert "bind 127.0.0.1 2001:db8::1\n" in hosts["a"].text("redis", "/etc/redis/redis.conf")
    if broker == "rabbitmq":
        text = hosts["a"].text("rabbitmq", "/etc/rabbitmq/rabbitmq.conf")
        assert "listeners.tcp.2 = 2001:db8::1:5672\n" in text
        assert "management.tcp.ip = ::\n" in text


# --- several hosts ---------------------------------------------------------------------------------------------------


def test_hosts_find_each_other_by_address() -> None:
    groups = {name: ["a"] for name in GROUPS} | {"workers": ["a", "b"]}
    environment = Platform(groups=groups, host="b").text("celery", "/etc/celery/environment")
    assert "@192.0.2.1:5672/celery'" in environment
    assert "@192.0.2.1:6379/1'" in environment
    on_a = Platform(groups=groups, host="a")
    assert "@127.0.0.1:5672/celery'" in on_a.text("celery", "/etc/celery/environment")
    assert "listeners.tcp.2 = 192.0.2.1:5672" in on_a.text("rabbitmq", "/etc/rabbitmq/rabbitmq.conf")
    rules = on_a.text("postgresql", "/etc/postgresql/17/main/pg_hba.conf").splitlines()[2:]
    assert rules == sorted(rules), "in one order, or the second deployment would change it"
    assert len(rules) == 3


@pytest.mark.parametrize("fresh", [True, False])
def test_a_release_goes_to_one_host_first_where_something_runs(fresh: bool) -> None:
    platform = Platform(groups={name: ["a"] for name in GROUPS} | {"workers": ["a", "b", "c"]})

    def batches() -> list[Any]:
        return list(batches_lookup.LookupModule().run([], platform.magic))

    assert platform.described()["serial"] == [1, "50%"]
    for known in platform.magic["hostvars"].values():
        known["__platform_unpacked"] = {"ansible_job_id": "j1"} if fresh else {"changed": False}
        known["platform"] = {"serial": [1, "50%"]}
    assert batches() == (["100%"] if fresh else [1, "50%"])
    platform.magic["hostvars"]["b"]["__platform_unpacked"] = {"changed": False}  # one of them runs something
    platform.magic["hostvars"]["a"]["platform"]["serial"] = [2]
    assert batches() == [2]


@pytest.mark.parametrize(
    ("worked", "begun", "others"), [([], ["a"], ["b", "c"]), (["a"], ["b", "c"], [])], ids=["first", "second"]
)
def test_a_bad_release_is_kept_from_the_hosts_that_follow(
    worked: list[str], begun: list[str], others: list[str]
) -> None:
    groups = {name: ["a"] for name in GROUPS} | {"workers": ["a", "b", "c"], "monitoring": ["d"]}
    platform = Platform(groups=groups, host=begun[0])
    configurations = {host: f"of {host}" for host in ("a", "b", "c")}
    for host, configuration in configurations.items():
        platform.magic["hostvars"][host]["platform"] = {"celery": {"configuration": configuration}}
    for host in [*worked, *begun]:
        platform.magic["hostvars"][host]["__celery_files"] = {"changed": True}
    for host in worked:
        platform.magic["hostvars"][host]["__celery_recorded"] = {"changed": True}
    peers = {"finished": worked, "begun": begun, "untouched": others, "configurations": configurations}
    assert platform.variable("celery", "celery_peers") == peers


def test_release_commands_run_once_and_not_once_a_batch() -> None:
    (task,) = [task for task in role_tasks("celery") if task["name"] == "Run the release's own commands"]
    assert "run_once" not in task
    # Flower's host comes first, and does not have the release.
    groups = {name: ["a"] for name in GROUPS} | {"workers": ["a", "b"], "monitoring": ["_"]}
    commands = ["python manage.py migrate"]
    ran = {
        host: Platform(groups=groups, host=host, celery_app_release_commands=commands).value("celery", task["loop"])
        for host in ("a", "b")
    }
    assert ran == {"a": commands, "b": []}


def test_no_release_command_runs_after_one_that_failed() -> None:
    (task,) = [task for task in role_tasks("celery") if task["name"] == "Run the release's own commands"]
    going_on = trust_as_template(f"{{{{ not ({task['loop_control']['break_when']}) }}}}")
    results: list[dict[str, Any]] = [{"rc": 0}, {"rc": 1}, {"failed": True, "msg": "no such file"}]
    assert [Platform().value("celery", going_on, __celery_commands=one) for one in results] == [True, False, False]


# --- secrets ---------------------------------------------------------------------------------------------------------


def test_no_secret_is_readable_by_all(platform: Platform) -> None:
    for role in ROLES:
        if role == "lab":
            continue
        for dest, entry in platform.files(role).items():
            shown = entry.get("content") or ""
            assert not [name for name, secret in SECRETS.items() if secret in shown], f"{dest} is shown in diffs"
            if entry.get("secret"):
                assert int(entry["mode"], 8) & 0o007 == 0, f"{dest} is readable by all"
                assert int(entry["mode"], 8) & 0o020 == 0, f"{dest} is writable by its group"
    for role in ("celery", "flower"):
        shown = platform.programs(role)
        assert not [name for name, secret in SECRETS.items() if secret in shown], (
            f"{role}'s programs are readable by all"
        )


def test_messages_are_signed_where_the_inventory_asks_for_it(tmp_path: Path) -> None:
    key = rsa_key.read_or_make(tmp_path / "secrets/signing_key.pem")
    platform = Platform(celery_message_signing=True, celery_signing_key=key)
    files = platform.files("celery")
    entry = files["/etc/celery/signing.key"]
    assert (entry["secret"], entry["group"], entry["mode"], entry["state"]) == (key, "celery", "0640", "file")
    private = serialization.load_pem_private_key(key.encode(), None)
    certificate = x509.load_pem_x509_certificate(platform.text("celery", "/etc/celery/signing.crt").encode())
    assert certificate.public_key() == private.public_key()
    environment = platform.text("celery", "/etc/celery/environment")
    for name, path in (("KEY", "signing.key"), ("CERTIFICATE", "signing.crt"), ("CERT_STORE", "signing.crt")):
        assert f"CELERY_SECURITY_{name}='/etc/celery/{path}'" in environment
    assert json.loads(platform.text("celery", "/etc/celery/platform.json"))["message_signing"] is True


def test_another_key_restarts_what_uses_it(tmp_path: Path) -> None:
    keys = [rsa_key.read_or_make(tmp_path / name) for name in "ab"]
    one, other = (programs(Platform(celery_message_signing=True, celery_signing_key=key)) for key in keys)
    for name in one:
        assert one[name]["environment"] != other[name]["environment"], name


def test_messages_are_not_signed_otherwise(platform: Platform) -> None:
    files = platform.files("celery")
    assert files["/etc/celery/signing.key"]["state"] == files["/etc/celery/signing.crt"]["state"] == "absent"
    assert "CELERY_SECURITY" not in platform.text("celery", "/etc/celery/environment")
    assert json.loads(platform.text("celery", "/etc/celery/platform.json"))["message_signing"] is False


# --- releases --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", ["current", "0123456789ab"])
def test_a_verb_that_changes_for_a_while_keeps_nothing_to_roll_back_to(wanted: str) -> None:
    """Those that drain a host and replace passwords ask for the release that is current."""
    platform = Platform(celery_release=wanted)
    found = {name: "0123456789ab" for name in ("found", "current", "worked")}
    releases = [{"release": "0123456789ab", "checked": "", "summary": {}}]
    platform.magic["__platform_app"] = {"skipped": True}
    platform.magic["__platform_found"] = found | {"unproven": False, "releases": releases}
    platform.magic["__celery_files"] = {"files": ["/etc/celery/platform.json"]}
    (kept,) = (call["keep"] for call in platform.arguments("celery", "supervisor_programs") if "keep" in call)
    expected = (False, "") if wanted == "current" else (True, "/opt/celery/before/programs")
    assert (platform.variable("celery", "_celery_rollout")["candidate"], kept) == expected


def test_the_programs_of_the_release_before_are_as_they_were() -> None:
    before, after = Platform(), Platform()
    after.magic["__platform_app"] = before.magic["__platform_app"] | {"release_id": "ffffffffffff"}
    after.magic["__platform_unpacked"]["worked"]["/opt/celery"] = "0123456789ab"
    back, now = (call["content"] for call in after.arguments("celery", "supervisor_programs") if "content" in call)
    assert back == before.programs() != now


def test_the_programs_that_were_kept_come_before_those_that_would_be_made() -> None:
    platform = Platform()
    platform.magic["__celery_restored"] = {"content": "[program:kept]\n"}
    contents = [call["content"] for call in platform.arguments("celery", "supervisor_programs") if "content" in call]
    assert contents[0] == "[program:kept]\n" != contents[-1]


def test_settings_that_are_checked_name_no_file_that_is_in_use(tmp_path: Path) -> None:
    key = rsa_key.read_or_make(tmp_path / "secrets/signing_key.pem")
    platform = Platform(celery_message_signing=True, celery_signing_key=key, celery_workers=WORKERS)
    checked, used = (
        {
            path.removeprefix(folder): entry
            for path, entry in platform.files("celery").items()
            if path.startswith(folder)
        }
        for folder in ("/etc/celery/next/", "/etc/celery/")
    )
    assert {path for path in used if not path.startswith("next")} == checked.keys() >= {"environment", "platform.json"}
    assert "/etc/celery/next/platform.json" in checked["environment"]["secret"]
    assert "/etc/celery/" not in checked["environment"]["secret"].replace("/etc/celery/next/", "")
    assert "next" not in used["environment"]["secret"]


@pytest.mark.parametrize("wanted", ["previous", "current", "ffffffffffff"])
def test_a_release_that_was_built_before_is_run_again(wanted: str) -> None:
    platform = Platform(celery_release=wanted)
    found = {"found": "ffffffffffff", "current": "0123456789ab", "worked": "0123456789ab"}
    releases = [{"release": "ffffffffffff", "checked": "", "summary": {}}]
    platform.magic["__platform_app"] = {"skipped": True}
    platform.magic["__platform_found"] = found | {"unproven": False, "releases": releases}
    assert all(
        "=ffffffffffff-" in line or 'CELERY_CONFIGURATION="ffffffffffff-' in line
        for line in platform.programs().splitlines()
        if line.startswith("environment=")
    )
    assert platform.variable("celery", "celery_current_release") == "0123456789ab"
    assert platform.variable("celery", "_celery_rollout")["candidate"] is True

    assert is_checked(platform) is True
    configuration = platform.variable("celery", "_celery_checked")
    for given, again in ((configuration, False), (f"{configuration}0", True)):  # another password, say
        platform.magic["__platform_found"]["releases"][0]["checked"] = given
        assert is_checked(platform) is again


def is_checked(platform: Platform) -> bool:
    """Whether a host checks the release before it becomes current."""
    (task,) = [task for task in role_tasks("celery") if task["name"].startswith("Check that the release imports")]
    return bool(platform.value("celery", trust_as_template(f"{{{{ {task['when']} }}}}")))


def test_a_release_that_is_new_to_a_host_is_checked(platform: Platform) -> None:
    assert is_checked(platform) is True


@pytest.mark.parametrize("preload", [True, False])
def test_the_web_side_loads_the_application_once_where_it_may(preload: bool) -> None:
    command = programs(Platform(celery_web_preload=preload))["web"]["command"]
    assert ("--preload" in command.split()) is preload


def test_a_command_of_the_users_is_restarted_instead_of_handed_over() -> None:
    platform = Platform(celery_web_command="daphne -p $CELERY_WEB_PORT proj.asgi:application")
    assert "celery_on_hosts.web.command 127.0.0.1 8000 daphne" in programs(platform)["web"]["command"]
    assert "web" not in platform.variable("celery", "celery_ready_reports")
    described = json.loads(platform.text("celery", "/etc/celery/platform.json"))
    assert (described["web_app"], described["web_command"][:6]) == ("", "daphne")


def test_another_web_application_is_checked_and_restarts_no_worker() -> None:
    one, other = Platform(celery_web_app="shop:app"), Platform(celery_web_app="shop:create_app('x')")
    assert one.variable("celery", "_celery_checked") != other.variable("celery", "_celery_checked")
    assert one.variable("celery", "_celery_configuration") == other.variable("celery", "_celery_configuration")


@pytest.mark.parametrize(
    "added", [{"celery_app_release_commands": ["flask x"]}, {"celery_web_static_commands": ["flask x"]}]
)
def test_a_command_that_is_added_runs_for_the_same_release_and_restarts_nothing(added: dict[str, Any]) -> None:
    """New settings run the commands; a list of commands is a setting that no program reads."""
    common: dict[str, Any] = {"celery_web_static": [{"folder": "css"}]}
    one, other = Platform(**common), Platform(**common | added)
    path = "/etc/celery/platform.json"
    assert one.text("celery", path) != other.text("celery", path)
    assert one.variable("celery", "_celery_configuration") == other.variable("celery", "_celery_configuration")
    assert "flask x" not in other.text("celery", path), "anybody may read the file"


def test_what_the_application_writes_is_linked_and_what_nginx_serves_is_readable() -> None:
    folders = [{"url": "/static/", "folder": "staticfiles"}, {"url": "/media/", "folder": "media"}, {"folder": "css"}]
    platform = Platform(
        celery_app_state=["media/", "app.log"],
        celery_web_static=folders,
        celery_web_static_commands=["flask digest compile"],
    )
    linked, made = platform.arguments("celery", "release_folders")
    assert (linked["state"], linked["served"], linked["static"]) == (
        ["media/", "app.log"],
        ["media/"],
        ["staticfiles/", "css/"],
    )
    assert made["commands"] == ["flask digest compile"]
    assert made["configuration"] == platform.variable("celery", "_celery_configuration")
    files = platform.files("celery")
    assert [files[path]["group"] for path in ("/var/lib/celery", "/var/lib/celery/data")] == ["www-data", "www-data"]
    assert Platform().files("celery")["/var/lib/celery/data"]["group"] == "celery"
    described = json.loads(platform.text("celery", "/etc/celery/platform.json"))
    assert (described["state"], described["static"]) == (["media/", "app.log"], ["staticfiles/", "css/"])
    assert "CELERY_DATA_DIR='/var/lib/celery/data'" in platform.text("celery", "/etc/celery/environment")


# --- workers out of service ------------------------------------------------------------------------------------------


def test_a_drained_host_has_no_workers_and_keeps_the_rest() -> None:
    platform = Platform(celery_workers=[{"name": "celery", "queues": ["celery"], "stop_wait": 900, "time_limit": 800}])
    platform.magic["ansible_facts"]["ansible_local"] = {"celery": {"drained": True}}
    assert list(programs(platform)) == ["celerybeat", "web"]
    described = json.loads(platform.text("celery", "/etc/celery/platform.json"))
    assert [one["program"] for one in described["programs"]] == ["celerybeat", "web", "flower"]
    assert described["queues"] == ["celery"]
    assert described["drained"] is True, "health says so"
    (*_, call) = platform.arguments("celery", "supervisor_programs")
    assert int(call["timeout"]) == 960, "what stops has its time"


def test_a_drained_host_that_only_works_has_no_programs_and_says_so() -> None:
    platform = Platform(groups={name: ["a"] for name in GROUPS} | {"workers": ["a", "b"]}, host="b")
    platform.magic["ansible_facts"]["ansible_local"] = {"celery": {"drained": True}}
    assert programs(platform) == {}
    assert platform.programs().strip(), "an empty text is none to Ansible, which would leave all as it is"


# --- wrappers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["celery", "celery-python", "celery-health", "celery-dead"])
def test_wrappers_are_clean_shell(name: str) -> None:
    text = Platform().text("celery", f"/usr/local/bin/{name}")
    shellcheck = Path(sys.executable).with_name("shellcheck")
    run = subprocess.run([str(shellcheck), "-"], input=text, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout


def test_operators_may_run_the_wrappers_and_nothing_else() -> None:
    files = Platform().files("celery")
    lines = [line for line in files["/etc/sudoers.d/celery"]["content"].splitlines() if not line.startswith("#")]
    (rule,) = lines
    who, _, commands = rule.partition("NOPASSWD: ")
    assert who == "%celery-operators ALL=(celery) "
    assert commands.split(", ") == [path for path in files if path.startswith("/usr/local/bin/")]
    assert files["/etc/sudoers.d/celery"]["mode"] == "0440"


# --- passwords that are replaced -------------------------------------------------------------------------------------


def takes(platform: Platform, digest: str) -> Platform:
    """A host on which a deployment has written down which passwords it takes."""
    platform.magic["ansible_facts"]["ansible_local"] = {"celery_passwords": {"digest": digest}}
    return platform


def rotates(platform: Platform, installed: Sequence[str] = ("rabbitmq-server", "redis-server", "postgresql")) -> object:
    """What a host of the services notes, with these packages on it when the deployment began."""
    wanted = platform.described()["packages"]
    platform.magic["__platform_missing"] = [name for name in wanted if name not in installed]
    (task,) = [task for task in role_tasks("platform") if task["name"].startswith("Note whether previous credentials")]
    text = task["ansible.builtin.set_fact"]["platform_rotates_credentials"]
    return platform.value("platform", text, **task["vars"])


def test_a_host_knows_whether_its_credentials_are_replaced() -> None:
    digest = Platform().described()["credentials"]["digest"]
    assert rotates(takes(Platform(), digest)) is False
    changed: dict[str, Any] = {"celery_redis_password": "another"}
    assert rotates(takes(Platform(**changed), digest)) is True
    assert rotates(Platform()) is True, "of an earlier version, or cut off meanwhile"
    assert rotates(Platform(), installed=["logrotate"]) is False, "there was nothing before"
    assert rotates(Platform(), installed=["redis-server"]) is True
    entry = Platform().variable("platform", "_platform_credentials_fact")
    assert json.loads(entry["content"]) == {"digest": digest}


def test_previous_credentials_go_when_all_hosts_have_the_new_ones() -> None:
    groups = {name: ["a"] for name in GROUPS} | {"workers": ["b", "c"], "monitoring": ["d"]}
    platform = Platform(groups=groups, host="a")

    def value(text: str) -> object:
        return platform.value("platform", trust_as_template(f"{{{{ {text} }}}}"))

    (play,) = [play for play in plays() if play["name"] == "Remove the previous credentials"]
    (task,) = play["tasks"]
    assert value(task["when"]) is False
    hosts = platform.magic["hostvars"]
    hosts["a"]["platform_rotates_credentials"] = True
    assert value(task["when"]) is True
    for name in "ab":
        hosts[name]["platform_renewed"] = True
    left = [platform.value("platform", task["vars"]["_not_renewed"], **task["vars"])]
    for name in "cd":
        hosts[name]["platform_renewed"] = True
    left.append(platform.value("platform", task["vars"]["_not_renewed"], **task["vars"]))
    assert left == [["c", "d"], []]


def test_programs_are_not_told_passwords_that_services_do_not_take() -> None:
    groups = {name: ["a"] for name in GROUPS} | {"workers": ["b", "c"], "database": ["d"]}
    platform = Platform(groups=groups, host="b")
    digest = platform.described()["credentials"]["digest"]
    hosts = platform.magic["hostvars"]

    def outdated(**digests: str) -> list[str]:
        for name, facts in hosts.items():
            facts["ansible_facts"] = {"ansible_local": {"celery_passwords": {"digest": digests.get(name, digest)}}}
        model = platform.model()
        return model.outdated_credentials(model.service_hosts)

    assert outdated() == []
    assert outdated(d="another") == ["d"]
    assert outdated(a="another", d="another") == ["a", "d"]
    hosts["d"]["ansible_facts"] = {}
    model = platform.model()
    assert model.outdated_credentials(model.service_hosts) == ["a", "d"], "never deployed to, or it did not answer"

    (task,) = [task for task in role_tasks("platform") if task["name"].startswith("Check that the services that this")]
    platform.magic["__platform_model"] = {"outdated_credentials": ["a", "d"]}
    for configured, rest in ((["a", "b", "c", "d"], []), (["a", "b"], ["d"]), ([], ["a", "d"])):
        found = platform.value("platform", task["vars"]["_platform_outdated"], platform_configured_hosts=configured)
        assert found == rest, "a deployment configures those that it reaches"
