"""A host with a past is deployed to beside, or in place of, what others have; all of theirs is there afterwards.

`make used` makes the host. The tests run in order: each goes on where the one before has ended.
"""

from __future__ import annotations

import re

import pytest

from tests.deployments.support import Deployments
from tests.hosts.support import Platform, Site, eventually, make

PAST = r"""
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install --yes --no-install-recommends curl nginx redis-server supervisor >/dev/null
sed -i 's/^# requirepass .*/requirepass s3cret/' /etc/redis/redis.conf
systemctl restart redis-server
sleep 1
export REDISCLI_AUTH=s3cret
for number in $(seq 500); do echo "SET order:$number paid"; done | redis-cli >/dev/null
redis-cli -n 7 set basket full
redis-cli save
echo 'server { listen 80; server_name blog.example.org; return 200 BLOG; }' >/etc/nginx/sites-available/blog
ln -sf ../sites-available/blog /etc/nginx/sites-enabled/blog
systemctl reload-or-restart nginx
cat >/etc/supervisor/conf.d/mail.conf <<END
[program:mail]
command=/bin/sleep 44444
END
sed -i '1i ; our own' /etc/supervisor/supervisord.conf
systemctl restart supervisor
sleep 2
"""
KEYS = r"""
systemctl is-active --quiet redis-server
export REDISCLI_AUTH=$(cat /etc/redis/root.password 2>/dev/null || echo s3cret)
user=$([ -e /etc/redis/root.password ] && echo '--user root')
redis-cli $user --raw get order:500
redis-cli $user --raw -n 7 get basket
redis-cli $user --raw keys 'order:*' | wc -l
"""
OWN = "sha256sum /etc/redis/redis.conf; ls -l /etc/nginx/sites-enabled; sha256sum /etc/supervisor/supervisord.conf"
PIDS = "systemctl show --value --property MainPID nginx supervisor; supervisorctl pid mail"
PAGES = r"""
for name in blog.example.org 127.0.0.1; do curl --silent --header "Host: $name" http://127.0.0.1/; done
"""


@pytest.fixture(scope="module")
def used(site: Site) -> Site:
    """The host, with services, configuration and data of others."""
    site.run("bash -ec %s", PAST)
    return site


@pytest.fixture(scope="module")
def pids(used: Site) -> str:
    """The processes of others' services that keep running."""
    return used.run(PIDS)


@pytest.fixture(scope="module")
def own(used: Site) -> str:
    """What others' files were before."""
    return used.run(OWN)


def alive(site: Site) -> None:
    """All that others have works."""
    found = eventually(lambda: site.run("bash -c %s", KEYS, status=None).split(), lambda said: len(said) == 3)
    assert found == ["paid", "full", "500"]
    pages = site.run("bash -c %s", PAGES)
    assert pages.startswith("BLOG")
    assert "Welcome to nginx!" in pages


def test_a_dry_run_shows_what_is_taken_over(used: Site, own: str, platform: Platform) -> None:
    """And changes nothing."""
    said = make(platform.inventory, "deploy", "CHECK=1")
    assert "kept: written to an append-only file before the configuration changes" in said, said
    assert "the copy /etc/redis/redis.conf.before-celery-" in said, said
    assert used.run(OWN) == own
    alive(used)


def test_without_consent_it_is_refused(used: Site, own: str, platform: Platform) -> None:
    """With the words that consent, and before anything is changed."""
    said = make(platform.inventory, "deploy", "ARGS=-e '{\"celery_take_over\": []}'", works=False)
    assert 'celery_take_over: ["redis"]' in said, said
    assert used.run(OWN) == own


def test_a_deployment_keeps_all(used: Site, own: str, pids: str, deployments: Deployments) -> None:
    """The keys of all databases, and copies of the files that were replaced."""
    run = deployments.run()
    assert run.status == 0, run.said
    used.healthy(60)
    alive(used)
    assert used.run(PIDS) == pids
    served = "curl --silent --header 'Host: plain.example.org' http://127.0.0.1/"
    assert used.run(served) == "200 OK"
    copy = used.run("sha256sum /etc/redis/redis.conf.before-celery-*")
    assert copy.split()[0] == own.split()[0]
    used.run("systemctl restart redis-server")
    alive(used)


def test_a_second_deployment_changes_nothing(used: Site, deployments: Deployments) -> None:
    run = deployments.run()
    assert (run.status, run.changed) == (0, 0), run.said
    alive(used)


def test_a_removal_gives_all_back(used: Site, own: str, pids: str, platform: Platform) -> None:
    """The files as they were, and the keys that Redis has by now."""
    said = make(platform.inventory, "remove", "YES=1", "DATA=1")
    assert re.search(r"Redis, as it was before\s+the platform came", said), said
    assert used.run(OWN) == own
    assert not used.host.file("/etc/redis/root.password").exists
    alive(used)
    assert used.run(PIDS) == pids
    assert "There is nothing to remove" in make(platform.inventory, "remove", "YES=1", "DATA=1")
