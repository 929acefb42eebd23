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
apt-get -qq install --yes --no-install-recommends curl nginx postgresql redis-server supervisor >/dev/null
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
cd /etc/postgresql/*/main
runuser -u postgres -- psql -qc "CREATE ROLE blog LOGIN PASSWORD 'blogpw'" -c "CREATE DATABASE blog OWNER blog"
sed -i '1i local blog blog peer map=writers' pg_hba.conf
echo 'writers nobody blog' >>pg_ident.conf
echo 'work_mem = 7MB' >conf.d/own.conf
runuser -u postgres -- psql -qc "ALTER SYSTEM SET log_min_duration_statement = 5000"
systemctl restart postgresql
export PGPASSWORD=blogpw
psql -h 127.0.0.1 -U blog blog -qc 'CREATE TABLE post AS SELECT generate_series(1, 3)'
systemd-run --quiet --unit reader --uid nobody psql -U blog blog -c 'SELECT pg_sleep(86400)'
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
# As a user of the host by a rule and a map of their own, and with a password.
ROWS = r"""
cd /
runuser -u nobody -- psql -U blog blog -Atc 'SELECT count(*) FROM post' -c 'SHOW work_mem'
PGPASSWORD=blogpw psql -h 127.0.0.1 -U blog blog -Atc 'SELECT count(*) FROM post' -c 'SHOW log_min_duration_statement'
runuser -u postgres -- psql -Atc "SELECT rolname FROM pg_roles WHERE rolname !~ '^(pg_|celery)' ORDER BY 1"
"""
OWN = r"""
sha256sum /etc/redis/redis.conf /etc/supervisor/supervisord.conf /etc/postgresql/*/main/*.conf
sha256sum /etc/postgresql/*/main/conf.d/* /var/lib/postgresql/*/main/*.auto.conf
stat --format '%n %U %a' /etc/postgresql/*/main/*.conf
ls -l /etc/nginx/sites-enabled
"""
# Of services that are not restarted, a program, and a session that is open all the time.
PIDS = "systemctl show --value --property MainPID nginx supervisor postgresql@*-main reader; supervisorctl pid mail"
PLATFORMS = "runuser -u postgres -- psql -Atc \"SELECT datname FROM pg_database WHERE datname ~ 'celery'\""
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
    assert site.run("bash -c %s", ROWS).split() == ["3", "7MB", "3", "5s", "blog", "postgres"]


def test_a_dry_run_shows_what_is_taken_over(used: Site, own: str, platform: Platform) -> None:
    """And changes nothing."""
    said = make(platform.inventory, "deploy", "CHECK=1")
    assert "kept: written to an append-only file before the configuration changes" in said, said
    assert "the copy /etc/redis/redis.conf.before-celery-" in said, said
    assert "+host celery +celery 127.0.0.1/32 scram-sha-256" in said, said
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
    kept = make(platform.inventory, "remove", "YES=1")
    assert "The database celery and its roles in PostgreSQL, which runs on." in kept, kept
    assert used.run(PLATFORMS).split() == ["celery"]
    said = make(platform.inventory, "remove", "YES=1", "DATA=1")
    assert re.search(r"Redis, as it was before\s+the platform came", kept), kept
    assert re.search(r"the\s+database\s+celery\s+and\s+the\s+platform's\s+roles", said), said
    assert used.run(PLATFORMS) == ""
    assert used.run(OWN) == own
    assert not used.host.file("/etc/redis/root.password").exists
    alive(used)
    assert used.run(PIDS) == pids
    assert "There is nothing to remove" in make(platform.inventory, "remove", "YES=1", "DATA=1")
