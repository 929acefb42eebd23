"""An application that knows nothing of the platform gets its settings, and keeps its own."""

from __future__ import annotations

import gc
import json
from typing import Any

import pytest
from celery import Celery
from conftest import PLAIN, since
from kombu import Exchange, Queue
from kombu.common import Broadcast

from celery_on_hosts import delay, garbage
from celery_on_hosts.check.declare import dead_letter_queues
from celery_on_hosts.loader import PRODUCER_RETRY, SERVER_RETRY
from celery_on_hosts.platform_file import Platform, PlatformError


def make(**options: Any) -> Celery:
    return Celery("x", set_as_current=False, **options)


def test_defaults_reach_an_app(platform):
    platform()
    conf = make(broker="pyamqp://guest@localhost//", backend="rpc://").conf
    assert conf.task_acks_late is True
    assert conf.task_create_missing_queues is False
    assert conf.task_publish_retry_policy == PRODUCER_RETRY
    assert (conf.broker_url, conf.result_backend) == ("memory://", "cache+memory://")


def test_rabbitmq_queues_are_quorum_queues_on_topic_exchanges(platform):
    platform()
    app = make()
    for name in ("celery", "low"):
        queue = app.amqp.queues[name]
        assert (queue.exchange.name, queue.exchange.type, queue.routing_key) == (name, "topic", name)
        assert queue.queue_arguments == {"x-queue-type": "quorum"}
    assert delay.uses_quorum_queues(app)
    if not delay.is_ours():
        from celery.utils.quorum_queues import detect_quorum_queues

        assert detect_quorum_queues(app, "amqp") == (True, "celery")
    assert app.amqp.router.route({}, "any")["queue"].name == "celery"


def test_queues_of_a_rabbitmq_elsewhere_keep_their_dead_letters_by_arguments(platform):
    arguments = {"x-queue-type": "quorum", "x-dead-letter-exchange": "celery.dead"}
    platform(managed_broker=False, queue_arguments=arguments, settings={"broker_use_ssl": {"cert_reqs": 2}})
    app = make()
    queue = app.amqp.queues["low"]
    assert queue.queue_arguments == arguments
    assert queue.exchange.arguments == {"alternate-exchange": "celery.unroutable"}
    assert app.connection_for_write().ssl == app.connection_for_read().ssl == {"cert_reqs": 2}
    own = make()
    own.conf.broker_use_ssl = {"cert_reqs": 1}
    assert own.connection_for_write().ssl == {"cert_reqs": 1}, "the application's setting wins"


def test_own_queues_dead_letter_too_on_a_rabbitmq_elsewhere(platform):
    def queues(managed):
        dead = {} if managed else {"x-dead-letter-exchange": "celery.dead", "x-delivery-limit": 20}
        platform(managed_broker=managed, queue_arguments={"x-queue-type": "quorum", **dead})
        app, quorum = make(), {"x-queue-type": "quorum", "x-delivery-limit": 3}
        app.conf.task_queues = [
            Queue("celery", Exchange("celery", type="topic"), routing_key="celery", queue_arguments=quorum),
            Queue("low", Exchange("low"), routing_key="low"),
            Broadcast("all"),
        ]
        return app.amqp.queues

    own = queues(managed=False)
    dead = {"x-dead-letter-exchange": "celery.dead"}
    assert own["celery"].queue_arguments == {"x-queue-type": "quorum", "x-delivery-limit": 3, **dead}
    assert own["low"].queue_arguments == dead, "a classic queue refuses a delivery limit"
    assert own["low"].exchange.arguments == {"alternate-exchange": "celery.unroutable"}
    policies = queues(managed=True)
    assert policies["celery"].queue_arguments == {"x-queue-type": "quorum", "x-delivery-limit": 3}
    assert (policies["low"].queue_arguments, policies["low"].exchange.arguments) == (None, None)


def test_dead_letter_queues_are_declared_where_no_policy_names_them():
    def named(**keys):
        platform = Platform("tasks", queues=("celery",), **keys)
        return [(queue.name, queue.exchange.name, queue.exchange.type) for queue in dead_letter_queues(platform)]

    dead = [(name, name, "fanout") for name in ("celery.dead", "celery.unroutable")]
    assert named(broker="rabbitmq", managed_broker=False) == dead
    assert named(broker="rabbitmq") == named(broker="redis", managed_broker=False) == []


def test_redis_queues_are_plain(platform):
    platform(broker="redis", queue_arguments={})
    queue = make().amqp.queues["low"]
    assert (queue.exchange.type, queue.queue_arguments) == ("direct", None)


def test_default_queue_is_one_that_is_read(platform):
    platform(queues=["fast", "low"])
    assert make().conf.task_default_queue == "fast"
    app = make()
    app.conf.task_default_queue = "low"
    assert (app.amqp.default_queue.name, app.amqp.default_exchange.type) == ("low", "topic")


class Settings:
    task_acks_late = False


class OldSettings:
    CELERY_ACKS_LATE = False
    CELERYD_PREFETCH_MULTIPLIER = 9


class Namespaced:
    CELERY_TASK_ACKS_LATE = False


def before(app):
    app.conf.task_acks_late = False


def after(app):
    assert app.conf.task_acks_late is True
    app.conf.task_acks_late = False


def update(app):
    app.conf.update(task_acks_late=False, timezone="Europe/Berlin")


def from_object(app):
    app.config_from_object(Settings)


def from_object_again(app):
    assert app.conf.task_acks_late is True
    app.config_from_object(Settings)


def from_old_names(app):
    app.config_from_object(OldSettings)


def from_namespace(app):
    app.config_from_object(Namespaced, namespace="CELERY")


def own_defaults(app):
    app.add_defaults({"task_acks_late": False})


@pytest.mark.parametrize(
    "configure",
    [before, after, update, from_object, from_object_again, from_old_names, from_namespace, own_defaults],
)
def test_what_the_app_sets_wins(platform, configure):
    platform()
    app = make()
    configure(app)
    assert app.conf.task_acks_late is False
    assert app.conf.task_reject_on_worker_lost is True
    assert "low" in app.amqp.queues
    assert "celery_on_hosts.canary" in app.tasks


@pytest.mark.parametrize("configured", [False, True])
def test_transport_options_are_merged(platform, configured):
    platform()
    app = make()
    if configured:
        app.config_from_object({"broker_transport_options": {"client_properties": {"a": "b"}}})
    else:
        app.conf.broker_transport_options = {"client_properties": {"a": "b"}}
    assert app.conf.broker_transport_options == {
        "client_properties": {"a": "b"},
        "confirm_publish": True,
        "confirm_timeout": 10,
    }


def test_an_app_may_turn_confirms_off(platform):
    platform()
    app = make()
    app.conf.broker_transport_options = {"confirm_publish": False}
    assert app.conf.broker_transport_options["confirm_publish"] is False


PICKLE = {"accept_content": ["json", "pickle"], "task_serializer": "pickle", "result_serializer": "pickle"}


@pytest.mark.parametrize(
    ("conf", "accepted"),
    [
        (PICKLE, None),
        (PICKLE | {"result_accept_content": ["yaml"]}, ["yaml"]),
        ({"accept_content": ["auth"]}, ["json"]),
    ],
)
def test_results_are_what_the_app_accepts_where_it_chooses_their_kind(platform, conf, accepted):
    """As under plain Celery. What signs its messages does not sign its results."""
    platform(settings={"accept_content": ["json"], "result_accept_content": ["json"], "result_serializer": "json"})
    app = make()
    app.conf.update(conf)
    assert app.conf.result_accept_content == accepted


def test_only_servers_wait_for_ever(platform):
    platform()
    producer, worker = make(), make()
    worker.loader.init_worker()
    assert worker.conf.task_publish_retry_policy == SERVER_RETRY
    assert worker.conf.result_backend_always_retry is True
    assert producer.conf.task_publish_retry_policy == PRODUCER_RETRY
    assert producer.conf.result_backend_always_retry is False


def test_settings_under_their_old_names_take_part(platform):
    platform()
    app = make()
    app.config_from_object(OldSettings)
    app.loader.init_worker()
    assert app.conf.worker_prefetch_multiplier == 9
    assert app.conf.task_publish_retry_policy == SERVER_RETRY
    assert app.conf.broker_transport_options["confirm_timeout"] == 10


@since("5.5", "delay.py sends delayed tasks")
def test_a_delay_below_a_second_is_not_refused(platform):
    platform()
    from celery.app import base

    assert make().conf.task_acks_late
    assert base.calculate_routing_key(0, "low").endswith(".0.1.low")


def test_what_expires_is_left_to_a_worker(platform):
    platform(queues=["expiring"])
    app = make()
    app.send_task("add", expires=60)
    app.send_task("add", expiration=60)  # what the application itself tells the broker
    with app.connection_for_read() as connection:
        first, second = (connection.default_channel.basic_get("expiring", no_ack=True) for _ in range(2))
    assert first.headers["expires"]
    assert ("expiration" in first.properties, second.properties["expiration"]) == (False, "60000")


def test_canary_is_registered_in_every_app(platform):
    platform()
    first, second = make(), make()
    second.finalize()
    assert "celery_on_hosts.canary" in first.tasks
    assert "celery_on_hosts.canary" in second.tasks
    canary = first.tasks["celery_on_hosts.canary"]
    assert (canary.acks_late, canary.reject_on_worker_lost) == (False, False), (
        "one that is killed must not be dead-lettered"
    )
    result = canary.apply(("token",)).get()
    assert result["token"] == "token"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("{", "is not JSON"),
        ("[]", "no JSON object"),
        ('{"broker": "kafka", "queues": ["celery"]}', "allowed are rabbitmq, redis"),
        ('{"broker": "redis", "queues": []}', "at least one queue"),
        ('{"broker": "redis", "queues": ["a"], "programs": [{"program": "x"}]}', "needs program and kind"),
        ('{"broker": "redis", "queues": ["a"], "programs": [{"program": "x", "kind": "y"}]}', "of kind 'y'"),
    ],
)
def test_a_bad_platform_file_is_refused_in_words(platform, tmp_path, content, words):
    path = platform()
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(PlatformError, match=words):
        _ = make().conf.task_acks_late


def test_a_missing_variable_says_what_to_do(platform, monkeypatch):
    platform()
    monkeypatch.delenv("CELERY_PLATFORM")
    with pytest.raises(PlatformError, match="/etc/celery/environment"):
        _ = make().conf.task_acks_late


DJANGO = """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "web_settings"
from celery import Celery
app = Celery("web")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
"""
DJANGO_SETTINGS = """
SECRET_KEY = "x"
INSTALLED_APPS = []
CELERY_TASK_ACKS_LATE = False
CELERY_BROKER_URL = "amqp://nobody@nowhere//"
"""


def test_django(platform, app_dir, python):
    pytest.importorskip("django")
    platform()
    folder = app_dir(web=DJANGO, web_settings=DJANGO_SETTINGS)
    code = "from web import app; c = app.conf; print(c.task_acks_late, c.task_reject_on_worker_lost, c.broker_url)"
    done = python(folder, "-c", code)
    assert done.stdout.split() == ["False", "True", "memory://"], done.stderr


BEHIND_URLS = """
from celery import shared_task
urlpatterns = []
@shared_task
def behind_urls():
    pass
"""


def test_tasks_of_a_module_that_only_the_urls_import(platform, app_dir, python):
    pytest.importorskip("django")
    platform()
    settings = DJANGO_SETTINGS + 'ROOT_URLCONF = "site_urls"\n'
    folder = app_dir(web=DJANGO, web_settings=settings, site_urls=BEHIND_URLS)
    code = "from web import app; app.loader.init_worker(); print('site_urls.behind_urls' in app.tasks)"
    for skip, known in (("", "True"), ("yes", "False")):
        done = python(folder, "-c", code, CELERY_SKIP_CHECKS=skip)
        assert done.stdout.split() == [known], done.stderr
        checked = python(folder, "-m", "celery_on_hosts.check", "--app", "web", "--json", CELERY_SKIP_CHECKS=skip)
        assert f'"tasks": {int(known == "True")}' in checked.stdout, "the check counts what a worker knows"


def test_loading_imports_nothing_that_must_be_patched_first(platform, app_dir, python):
    platform()
    code = (
        "import sys, json; from tasks import app; app.conf.task_acks_late; "
        "print(json.dumps([m for m in sys.modules if m in "
        "('kombu.asynchronous', 'kombu.utils.eventio', 'celery.worker.request', 'celery_on_hosts.liveness')]))"
    )
    done = python(app_dir(tasks=PLAIN), "-c", code)
    assert json.loads(done.stdout) == [], done.stderr


def test_passwords_of_urls_are_hidden_where_settings_are_shown(platform):
    platform()
    app = make()
    url = "amqp://me:hush@h:5672/v"
    app.conf.CELERY_BROKER_URL, app.conf.MANY = url, [url, "plain"]
    shown = app.conf.table(with_defaults=False, censored=True)
    assert shown["CELERY_BROKER_URL"] == "amqp://me:********@h:5672/v"
    assert shown["MANY"] == ["amqp://me:********@h:5672/v", "plain"]
    assert url == app.conf.CELERY_BROKER_URL


def test_a_worker_that_has_started_collects_garbage_but_for_what_was_imported(platform):
    platform()
    usual = gc.get_threshold()
    garbage.put_off()
    assert gc.get_threshold() != usual
    make().loader.init_worker()
    kept = gc.get_freeze_count()
    gc.unfreeze()
    assert gc.get_threshold() == usual
    assert kept > 10_000


def test_a_worker_in_another_process_keeps_no_garbage(platform, monkeypatch):
    """In a process that the runtime did not start, such as a test or a web process."""
    platform()
    monkeypatch.setattr(garbage, "_is_put_off", False)
    gc.unfreeze()
    make().loader.init_worker()
    assert gc.get_freeze_count() == 0


@pytest.mark.parametrize(("then", "left"), [("", "1"), ("garbage.search_again(); gc.unfreeze()", "0")])
def test_a_command_ends_without_looking_for_garbage_and_a_worker_with(python, tmp_path, then, left):
    code = "import atexit, gc; atexit.register(lambda: print(int(gc.get_freeze_count() > 0)));"
    code += f"from celery_on_hosts import garbage; garbage.put_off(); {then}"
    assert python(tmp_path, "-c", code).stdout == f"{left}\n"
