"""A host that served somebody else before is refused, and stays as it was.

The host is the scenario's second one, on which nothing else is done.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import testinfra
import yaml

from tests.deployments.support import Deployments
from tests.hosts.support import ROOT, Platform, Site, eventually, make

GROUPS = ("brokers", "results", "database", "workers", "beat", "web", "monitoring", "proxy")
PAST = r"""
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install --yes --no-install-recommends curl nginx postgresql rabbitmq-server redis-server supervisor
redis-cli set order:1 paid
redis-cli save
runuser -u postgres -- createdb blog
rabbitmqctl --quiet add_vhost legacy
rm /etc/nginx/sites-enabled/default
echo 'server { listen 80 default_server; return 200 BLOG; }' >/etc/nginx/conf.d/blog.conf
systemctl reload nginx
cat >/etc/supervisor/conf.d/shop.conf <<END
[program:celery]
command=/bin/sleep 22222
[program:mail]
command=/bin/sleep 33333
[group:shop]
programs=mail
END
sed -i '1i ; our own' /etc/supervisor/supervisord.conf
systemctl restart supervisor
useradd --create-home celery
printf '#!/bin/sh\n' >/usr/local/bin/celery
systemd-run --unit shop --uid nobody /usr/bin/python3 -m http.server --bind 127.0.0.1 8000
"""
STATE = r"""
find /etc /usr/local /opt /var/lib/redis /var/lib/celery* -type f -exec sha256sum {} + 2>&1 | sort
for unit in nginx postgresql@*-main rabbitmq-server redis-server shop supervisor; do
  systemctl show --value --property Id,ActiveState,MainPID "$unit"
done
"""
FOUND = (
    "/var/lib/rabbitmq/mnesia/rabbit@probe with the virtual host legacy), without the plugin rabbitmq_management",
    "1 key in database 0 in /var/lib/redis/dump.rdb",
    "the site /etc/nginx/conf.d/blog.conf, at port 80",
    "[program:celery] in /etc/supervisor/conf.d/shop.conf",
    "the account celery with home /home/celery",
    "/usr/local/bin/celery, a file that the platform did not write",
    "port 8000, at which python3",
)


@pytest.fixture(scope="module")
def used(pytestconfig: pytest.Config, platform: Platform) -> Site:
    """A host with a past: services of its own, with configuration, data and programs."""
    inventory = pytestconfig.getoption("ansible_inventory")
    (host,) = testinfra.get_hosts(["ansible://probe"], ansible_inventory=inventory, sudo=True)
    site = Site(platform, host)
    site.run("bash -ec %s", PAST)
    eventually(lambda: site.run("supervisorctl status", status=None), lambda said: said.count("RUNNING") == 2)
    return site


@pytest.fixture(scope="module")
def inventory(platform: Platform) -> Iterator[Path]:
    """An inventory in which the second host is to run everything."""
    known = yaml.safe_load((platform.inventory / "lab_hosts.yml").read_text(encoding="utf-8"))
    groups: dict[str, object] = {name: {"hosts": {"probe": None}} for name in GROUPS}
    hosts = {"probe": {"ansible_host": known["lab"]["hosts"]["probe"]["ansible_host"]}}
    folder = ROOT / ".cache/used-host"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(platform.inventory / "group_vars", folder / "group_vars")
    text = json.dumps({"all": {"hosts": hosts, "vars": known["lab"]["vars"]}} | groups)
    (folder / "hosts.yml").write_text(text, encoding="utf-8")
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("words", [["CHECK=1"], []], ids=["a dry run", "a deployment"])
def test_it_is_refused_and_not_touched(used: Site, inventory: Path, words: list[str]) -> None:
    """All that is in the way is said at once."""
    before = used.run(STATE)
    said = make(inventory, "deploy", *words, works=False)
    for text in FOUND:
        assert text in said, said
    assert f"Nothing was changed: {len(FOUND)} things on probe are in the way." in said, said
    after = used.run(STATE)
    assert sorted(set(after.splitlines()) ^ set(before.splitlines())) == []


def test_what_it_had_is_there_after_a_restart(used: Site) -> None:
    """Of each service, also of Redis, whose snapshot is read again."""
    used.run("systemctl restart redis-server")
    answer = eventually(lambda: used.run("redis-cli get order:1", status=None).strip(), lambda said: said == "paid")
    assert answer == "paid"
    assert used.run("curl --silent http://127.0.0.1/").strip() == "BLOG"
    assert "blog" in used.run("runuser -u postgres -- psql --list --tuples-only")
    assert "legacy" in used.run("rabbitmqctl --quiet list_vhosts")


def test_the_role_of_redis_alone_refuses_a_snapshot(used: Site, inventory: Path, tmp_path: Path) -> None:
    """Also in a playbook of somebody else's, which has no preflight."""
    before = used.run(STATE)
    play = tmp_path / "redis.yml"
    user = {"name": "shop", "password": hashlib.sha256(b"shop").hexdigest(), "rules": "~* +@all"}
    role = {"ansible.builtin.import_role": {"name": "redis"}, "vars": {"redis_users": [user]}}
    task = {"name": "Redis", **role}
    play.write_text(json.dumps([{"hosts": "results", "become": True, "tasks": [task]}]), encoding="utf-8")
    run = Deployments(inventory).run(playbook=play)
    assert run.status != 0
    assert "Redis has 1 key in database 0 in /var/lib/redis/dump.rdb, and no append-only file" in run.said, run.said
    assert sorted(set(used.run(STATE).splitlines()) ^ set(before.splitlines())) == []
