"""The platform leaves a host: what others own stays, and the next deployment goes on with the data.

The hosts are those of the scenario mishaps, deployed to by `make removal`. The second host is as it was made.
"""

from __future__ import annotations

import re

import pytest
import testinfra

from tests.deployments.support import Deployments
from tests.hosts.support import Platform, Site, eventually, make

# An administrator's own, added after the deployment.
OWN = r"""
cat >/etc/supervisor/conf.d/mail.conf <<END
[program:mail]
command=/bin/sleep 44444
END
echo 'a note' >/etc/supervisor/conf.d/README
supervisorctl update
echo 'server { listen 8081; return 200 BLOG; }' >/etc/nginx/conf.d/blog.conf
systemctl reload nginx
echo 'a note' >/etc/celery/notes.txt
apt-get install --quiet --yes --no-install-recommends curl python3-redis >/dev/null
"""
MINE = ("/etc/supervisor/conf.d/mail.conf", "/etc/supervisor/conf.d/README", "/etc/nginx/conf.d/blog.conf")
# The services that keep the data keep their configuration.
KEPT = re.compile(
    r"/var/lib/|/etc/ansible/facts\.d/celery_passwords\.fact$|/etc/postgresql/\d+/main/conf\.d/celery\.conf$"
    r"|/etc/systemd/system/(epmd\.socket|postgresql@\.service|rabbitmq-server\.service|redis-server\.service)\.d/celery\.conf$"
)
FILES = "find /etc /opt /srv /usr/local /usr/bin /usr/sbin /usr/lib /var/lib /var/log /run/celery* ! -type d | sort"
# What dpkg, apt, systemd and the tools for accounts keep of what was installed or ran once.
TRACES = re.compile(
    r"/var/lib/(dpkg|apt|systemd|ucf|dbus)/|/var/log/supervisor/mail-|/etc/\.updated|/var/log/(apt/|dpkg|journal/|btmp|wtmp|lastlog|faillog|alternatives)"
    r"|/etc/(passwd|group|shadow|gshadow|subuid|subgid)-?$|/etc/ssh/|/etc/mach|/var/cache/|__pycache__|\.pyc$"
)
# What services that run make and remove by themselves: segments of their logs, and files that are not renamed yet.
MOVING = re.compile(r"^/var/lib/(rabbitmq|redis|postgresql)/|/\.new-")


@pytest.fixture(scope="module")
def blank(pytestconfig: pytest.Config, platform: Platform) -> Site:
    """The scenario's second host, on which nothing was done yet."""
    inventory = pytestconfig.getoption("ansible_inventory")
    (host,) = testinfra.get_hosts(["ansible://probe"], ansible_inventory=inventory, sudo=True)
    return Site(platform, host)


@pytest.fixture(scope="module")
def later() -> list[str]:
    """The ids of tasks that wait in the broker while the platform is gone."""
    return []


def remove(site: Site, *words: str) -> str:
    """Run the verb."""
    return make(site.platform.inventory, "remove", *words)


def pid_of_mail(site: Site) -> str:
    """The process of the administrator's program."""
    said: str = eventually(lambda: site.run("supervisorctl pid mail", status=None).strip(), str.isdigit)
    return said


def test_nothing_goes_unasked(site: Site) -> None:
    """What would go is named; the platform works on."""

    def there() -> list[str]:
        return [path for path in site.run(FILES).splitlines() if not MOVING.search(path)]

    before = there(), site.processes()
    for words in ([], ["CHECK=1", "YES=1"], ["DATA=1"]):
        said = remove(site, *words)
        for text in ("celery, celerybeat", "RabbitMQ, stop", "/usr/local/bin/celery-dead", "Nothing was changed"):
            assert text in said, said
    assert (there(), site.processes()) == before


def test_it_leaves_what_others_own(site: Site, later: list[str]) -> None:
    """Their programs and sites run on, in the same processes."""
    site.run("bash -ec %s", OWN)
    later.extend(site.send("[add.apply_async((2, 3), countdown=30)]"))
    mail = pid_of_mail(site)
    said = remove(site, "YES=1")
    assert "supervisord runs on, because others have /etc/supervisor/conf.d/README" in said, said
    assert pid_of_mail(site) == mail
    assert site.run("curl --silent http://127.0.0.1:8081/").strip() == "BLOG"
    for path in (*MINE, "/etc/celery/notes.txt"):
        assert site.host.file(path).exists, path
    left = site.run(FILES).splitlines()
    ours = [path for path in left if re.search("celery|flower", path) and not KEPT.match(path)]
    assert ours == ["/etc/celery/notes.txt"]
    accounts = site.run("cut -d: -f1 /etc/passwd /etc/group").split()
    assert {"celery", "flower", "celery-operators"} & set(accounts) == set()
    assert set(site.platform.variables["celery_operators"]) <= set(accounts)
    states = site.run("systemctl is-active rabbitmq-server redis-server postgresql@17-main", status=None).split()
    assert set(states) == {"inactive"}
    assert "There is nothing to remove" in remove(site, "YES=1")


def test_the_next_deployment_goes_on_with_the_data(site: Site, deployments: Deployments, later: list[str]) -> None:
    """As if the platform had only been stopped."""
    site.run(
        "rm /etc/nginx/conf.d/blog.conf && systemctl reload nginx"
    )  # beside one of others, the platform's site needs a name
    mark = "/var/lib/celery/mark"
    site.run(f"touch {mark}")
    run = deployments.run()
    assert run.status == 0, run.said
    site.healthy(60)
    eventually(lambda: site.states(later)["SUCCESS"], lambda count: count == 1, within=60)
    assert site.run(f"stat --format %U {mark}").strip() == "celery"
    again = deployments.run()
    assert (again.status, again.changed) == (0, 0), again.said


def test_with_the_data_the_host_is_as_it_was(site: Site, blank: Site) -> None:
    """But for what the administrator has installed."""
    site.run("rm /etc/supervisor/conf.d/README /etc/supervisor/conf.d/mail.conf && supervisorctl update")
    said = remove(site, "YES=1", "DATA=1")
    assert "rabbitmq-server, redis-server" in " ".join(said.split()), said
    left = set(site.run(FILES).splitlines()) - set(blank.run(FILES).splitlines())
    installed = [set(one.run("dpkg-query --show --showformat '${Package}\\n'").split()) for one in (site, blank)]
    owned = site.run("cat /var/lib/dpkg/info/*.list").splitlines()
    assert [path for path in sorted(left - set(owned)) if not TRACES.search(path)] == ["/etc/celery/notes.txt"]
    assert {"redis-server", "rabbitmq-server", "postgresql", "nginx", "supervisor"} & installed[0] == set()
    assert installed[0] - installed[1] >= {"curl"}
    assert "There is nothing to remove" in remove(site, "YES=1", "DATA=1")
