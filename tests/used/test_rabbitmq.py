"""The platform gets its place in a RabbitMQ of others, which is neither reconfigured nor restarted.

`make used` makes the host. The tests run in order: each goes on where the one before has ended.
"""

from __future__ import annotations

import pytest

from tests.deployments.support import Deployments
from tests.hosts.support import Platform, Site, eventually, make

PAST = r"""
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install --yes --no-install-recommends curl rabbitmq-server >/dev/null
echo 'heartbeat = 77' >/etc/rabbitmq/rabbitmq.conf
systemctl restart rabbitmq-server
ctl() { rabbitmqctl --quiet "$@" </dev/null; }
ctl add_vhost shop
ctl add_user shop shoppw
ctl set_permissions --vhost shop shop '.*' '.*' '.*'
ctl set_user_tags shop management
ctl set_policy --vhost shop short '.*' '{"max-length": 1000}'
"""
MESSAGES = r"""
api() { curl --silent --show-error --fail --user shop:shoppw --header content-type:application/json "$@"; }
url=http://127.0.0.1:15672/api
api --request PUT --data '{"durable": true}' $url/queues/shop/orders
api --request PUT --data '{"durable": true, "arguments": {"x-queue-type": "quorum"}}' $url/queues/shop/bills
for queue in orders bills; do
  for number in 1 2 3; do
    api --data '{"properties": {"delivery_mode": 2}, "routing_key": "'$queue'", "payload": "'$number'",
      "payload_encoding": "string"}' $url/exchanges/shop/amq.default/publish
  done
done
"""
THEIRS = r"""
ctl() { rabbitmqctl --quiet "$@" --no-table-headers </dev/null; }
ctl list_queues --vhost shop name type durable messages | sort
ctl list_users | grep -Ev '^(operator|celery_|flower_)' | sort
ctl list_permissions --vhost shop
ctl list_policies --vhost shop
rabbitmqctl --quiet authenticate_user shop shoppw </dev/null
rabbitmqctl --quiet eval '{node(), application:get_env(rabbit, heartbeat)}.' </dev/null
"""
FILES = "sha256sum /etc/rabbitmq/rabbitmq.conf /etc/rabbitmq/rabbitmq-env.conf /etc/rabbitmq/enabled_plugins"
PID = "systemctl show --value --property MainPID rabbitmq-server"
VHOSTS = "rabbitmqctl --quiet list_vhosts --no-table-headers </dev/null | sort"


@pytest.fixture(scope="module")
def used(site: Site) -> Site:
    """The host, with a RabbitMQ of others."""
    site.run("bash -ec %s", PAST)
    return site


def test_without_the_management_plugin_it_is_refused(used: Site, platform: Platform) -> None:
    """With the command that helps, before anything is changed."""
    said = " ".join(make(platform.inventory, "deploy", works=False).split())
    assert "without the plugin rabbitmq_management" in said, said
    assert "rabbitmq-plugins enable rabbitmq_management" in said, said
    assert not used.host.file("/var/lib/celery-platform").exists


@pytest.fixture(scope="module")
def theirs(used: Site) -> str:
    """What others have in RabbitMQ before."""
    used.run("rabbitmq-plugins --quiet enable rabbitmq_management </dev/null")
    used.run("bash -ec %s", MESSAGES)
    found = eventually(lambda: used.run("bash -ec %s", THEIRS), lambda said: said.count("\t3\n") == 2)
    assert "heartbeat" not in found
    assert "{ok,77}" in found
    return found


def unchanged(used: Site, theirs: str) -> None:
    """All that others have is there. A quorum queue counts its messages some seconds after a start."""
    assert eventually(lambda: used.run("bash -ec %s", THEIRS), lambda said: said == theirs) == theirs


@pytest.fixture(scope="module")
def files(theirs: str, used: Site) -> str:
    """Others' files, and RabbitMQ's process."""
    return used.run(f"{FILES}; {PID}")


def test_a_dry_run_changes_nothing(used: Site, theirs: str, files: str, platform: Platform) -> None:
    said = make(platform.inventory, "deploy", "CHECK=1")
    assert "because of /etc/rabbitmq/celery.json" in said, said
    assert used.run(f"{FILES}; {PID}") == files
    unchanged(used, theirs)


def test_a_deployment_keeps_all(used: Site, theirs: str, files: str, deployments: Deployments) -> None:
    """A task goes round, and RabbitMQ is not restarted. The platform's users see nothing of others."""
    run = deployments.run()
    assert run.status == 0, run.said
    used.healthy(60)
    unchanged(used, theirs)
    assert used.run(f"{FILES}; {PID}") == files
    assert {queue["vhost"] for queue in used.management("queues")} == {"celery"}


def test_a_second_deployment_changes_nothing(used: Site, theirs: str, deployments: Deployments) -> None:
    run = deployments.run()
    assert (run.status, run.changed) == (0, 0), run.said
    unchanged(used, theirs)


def test_new_passwords_take_the_place_of_the_previous_ones(used: Site, theirs: str, platform: Platform) -> None:
    """And others keep theirs."""
    ours = "rabbitmqctl --quiet list_users </dev/null | grep -Eo '^(celery|flower)_[0-9a-f]{8}' | sort"
    before = used.run(ours).split()
    make(platform.inventory, "rotate")
    after = used.run(ours).split()
    assert len(before) == len(after) == 2
    assert not set(before) & set(after)
    unchanged(used, theirs)


def test_all_is_there_after_a_reboot(used: Site, theirs: str) -> None:
    used.reboot()
    used.healthy(120)
    unchanged(used, theirs)


def test_a_removal_leaves_what_others_have(used: Site, theirs: str, files: str, platform: Platform) -> None:
    """The platform's users go. The virtual host goes with the data alone."""
    kept = " ".join(make(platform.inventory, "remove", "YES=1").split())
    assert "The virtual host celery in RabbitMQ, which runs on" in kept, kept
    assert used.run(VHOSTS).split() == ["/", "celery", "shop"]
    assert "operator" not in used.run("rabbitmqctl --quiet list_users </dev/null")
    make(platform.inventory, "remove", "YES=1", "DATA=1")
    assert used.run(VHOSTS).split() == ["/", "shop"]
    assert used.run(FILES).splitlines() == files.splitlines()[:3]
    assert not used.host.file("/etc/rabbitmq/celery.json").exists
    unchanged(used, theirs)
    assert "There is nothing to remove" in make(platform.inventory, "remove", "YES=1", "DATA=1")
    used.run("systemctl restart rabbitmq-server")
    unchanged(used, theirs)
