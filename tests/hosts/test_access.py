"""Who gets in: right passwords do, wrong ones do not, and from another host only the front doors answer."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.hosts.support import Platform, Site

# Ports that must not answer from outside, whether or not something listens there.
CLOSED = (4369, 5432, 5555, 5672, 6379, 8000, 9001, 25672)

# Logs in to RabbitMQ with each user and password, and says what came of it.
AMQP = """
import json, os
from kombu import Connection
right = os.environ["CELERY_BROKER_URL"]
place = right.rpartition("@")[2]
tries = {"right": right, "wrong": f"amqp://celery:wrong@{place}", "empty": f"amqp://celery:@{place}",
         "guest": f"amqp://guest:guest@{place}", "other vhost": right.rpartition("/")[0] + "//"}
said = {}
for name, url in tries.items():
    try:
        with Connection(url, connect_timeout=5) as connection:
            connection.connect()
        said[name] = "in"
    except Exception as error:
        said[name] = type(error).__name__
print(json.dumps(said))
"""

# What Flower's account may do at RabbitMQ: each thing on a channel of its own, since a refusal closes it.
FLOWER = """
import json, os
from kombu import Connection
queue = {queue!r}
with Connection(os.environ["CELERY_BROKER_URL"], transport_options={{"confirm_publish": True}}) as connection:
    def attempt(do):
        try:
            do(connection.channel())
            return "done"
        except connection.channel_errors as error:
            return type(error).__name__
    def publish(channel):
        channel.basic_publish(channel.prepare_message("x", None, "text/plain", "utf-8"), queue, queue)
    print(json.dumps({{
        "look": attempt(lambda channel: channel.basic_get(queue)),
        "consume": attempt(lambda channel: channel.basic_consume(queue)),
        "purge": attempt(lambda channel: channel.queue_purge(queue)),
        "send": attempt(publish),
        "events": attempt(lambda channel: channel.exchange_declare("celeryev", "topic", passive=True)),
    }}))
"""

# Tries to connect to each port, and prints those that answer.
PORTS = """
import json, socket
def answers(port):
    try:
        socket.create_connection(({address!r}, port), timeout=2).close()
        return True
    except OSError:
        return False
print(json.dumps([port for port in {ports} if answers(port)]))
"""


def test_only_the_front_doors_answer_from_another_host(site: Site, probe: Any, platform: Platform) -> None:
    """Whatever else listens on the host does so on loopback."""
    listening = {int(line.split()[3].rpartition(":")[2]) for line in site.run("ss -Hltn").splitlines()}
    script = PORTS.format(address=platform.address, ports=sorted(listening | set(CLOSED) | {22}))
    answering = set(json.loads(probe.check_output("python3 -c %s", script)))
    fronts = {22}
    fronts |= {platform.web_port} if "proxy" in platform.features else set()
    fronts |= {platform.management_port} if platform.broker == "rabbitmq" else set()
    assert answering == fronts


@pytest.mark.needs("rabbitmq")
def test_rabbitmq_wants_the_right_password(site: Site) -> None:
    """And knows no guest."""
    said = site.python(AMQP)
    assert said.pop("right") == "in"
    assert set(said.values()) <= {"AccessRefused", "NotAllowed"}, said


@pytest.mark.needs("rabbitmq")
def test_rabbitmqs_page_wants_the_operators_password(site: Site, platform: Platform) -> None:
    """Workers' and guests' accounts do not open it."""
    right = f"operator:{platform.secrets['rabbitmq_operator']}"
    assert site.http("/api/overview", platform.management_port, right).status == 200
    app = site.run(". /etc/celery/environment; echo $CELERY_BROKER_URL").split("/")[2].rpartition("@")[0]
    for login in ("", "guest:guest", "operator:wrong", app):
        assert site.http("/api/overview", platform.management_port, login).status == 401, login.partition(":")[0]
    names = {re.sub(r"_[0-9a-f]{8}$", "_…", user["name"]) for user in site.management("users")}
    assert names == {"celery_…", "flower_…", "operator"}


@pytest.mark.needs("rabbitmq", "flower")
def test_flowers_account_cannot_touch_tasks(site: Site, platform: Platform) -> None:
    """It hears events and asks workers, and no more."""
    said = json.loads(
        site.run(
            "set -a; . /etc/flower/environment; "
            "exec setpriv --reuid=flower --regid=flower --init-groups /opt/flower/current/bin/python -c %s",
            FLOWER.format(queue=platform.queues[0]),
        )
    )
    assert said.pop("events") == "done"
    assert set(said.values()) == {"AccessRefused"}, said


def test_redis_wants_a_user_and_the_right_password(site: Site, secrets: str) -> None:
    """The application's user is no administrator."""
    as_celery = f". {secrets}; REDISCLI_AUTH=$redis_app redis-cli --user celery"
    assert site.run(f"{as_celery} ping").strip() == "PONG"
    assert "NOAUTH" in site.run("redis-cli ping", status=None)
    for user in ("celery", "operator", "default"):
        said = site.run(f"REDISCLI_AUTH=wrong redis-cli --user {user} ping", status=None)
        assert "WRONGPASS" in said
        assert "NOAUTH" in said
    for command in ("config get appendonly", "acl list", "flushall", "shutdown nosave", "monitor"):
        assert "NOPERM" in site.run(f"{as_celery} {command}", status=None), command


@pytest.mark.needs("database")
def test_postgresql_wants_the_right_password(site: Site, secrets: str) -> None:
    """And lets nobody in over the socket but its administrator and root."""
    account = site.run(". /etc/celery/environment; echo $DATABASE_URL").split("/")[2].partition(":")[0]
    psql = f"psql -wAt -h 127.0.0.1 -U {account} celery -c 'select current_user'"
    assert site.run(f". {secrets}; PGPASSWORD=$database_app {psql}").strip() == "celery", "whose the tables are"
    assert "password authentication failed" in site.run(f"PGPASSWORD=wrong {psql}", status=2)
    assert "no password supplied" in site.run(psql, status=2)
    assert "password authentication failed" in site.run(
        f". {secrets}; PGPASSWORD=$database_app {psql} -U celery", status=2
    )
    over_tcp = "PGPASSWORD=wrong psql -wAt -h 127.0.0.1 -U postgres postgres -c 'select 1'"
    assert "no pg_hba.conf entry" in site.run(over_tcp, status=2)
    assert "failed for user" in site.run("psql -wAt -U postgres postgres -c 'select 1'", user="nobody", status=2)


@pytest.mark.needs("flower")
def test_flower_wants_its_password(site: Site, platform: Platform) -> None:
    """On each page: its metrics tell of workers and tasks too."""
    right = f"admin:{platform.secrets['flower']}"
    assert site.http("/flower/", login=right).status == 200
    for path in ("/flower/", "/flower/api/workers", "/flower/api/tasks", "/flower/metrics"):
        for login in ("", "admin:wrong", "admin:", "guest:guest"):
            assert site.http(path, login=login).status in (401, 404), path


@pytest.mark.needs("flower")
def test_flower_sees_the_workers(site: Site, platform: Platform) -> None:
    """All of them, alive."""
    workers = site.http("/flower/api/workers?status=1", login=f"admin:{platform.secrets['flower']}").json()
    assert workers == dict.fromkeys(site.nodes, True)


def test_nobody_else_reads_the_application(site: Site) -> None:
    """Its files may hold secrets, which celery_app_include ships."""
    paths = site.run("ls -d /opt/celery/current/app/* /opt/celery/deps/*/lib").split()
    assert len(paths) > 1
    for path in paths:
        site.run(f"test -r {path}", user="nobody", status=1)
        site.run(f"test -r {path}", user="celery")
