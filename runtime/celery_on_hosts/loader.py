"""The loader that brings the platform to an application that knows nothing of it.

Celery reads ``CELERY_LOADER`` for every app in every process, so workers, beat, web processes and shells all get the
same defaults. What the application sets itself, by whatever means, still wins.

Nothing here may import what gevent or eventlet have to patch first (sockets, threads, Celery's worker): their patching
looks at every object in memory, Celery's lazy ones load an app when looked at, and an app loads this.
"""

from __future__ import annotations

from typing import Any

from celery import Celery, signals
from celery.app import base
from celery.app.defaults import _TO_OLD_KEY
from celery.app.utils import Settings
from celery.loaders.app import AppLoader
from kombu import transport
from kombu.entity import Exchange, Queue

from . import canary, garbage, logs, masking
from .config import Platform

# How a publish is tried again while the broker is away. A producer hears of it soon and can act; a worker and beat
# have nobody to tell, and nothing better to do than wait.
PRODUCER_RETRY: dict[str, Any] = {"max_retries": 6, "interval_start": 0, "interval_step": 0.5, "interval_max": 2}
SERVER_RETRY: dict[str, Any] = {"max_retries": 1_000_000, "interval_start": 0, "interval_step": 0.5, "interval_max": 5}

# Options in these are added one by one, for an application that sets some of its own means to lose none of the others.
_MERGED = ("broker_transport_options", "result_backend_transport_options")

# Settings of the platform that are for workers alone: celery_on_hosts.limits says why.
_WORKER_LIMITS = ("task_time_limit", "task_soft_time_limit")


def platform_queues(platform: Platform) -> list[Queue]:
    """Describe every queue of the platform, each with an exchange of its own name."""
    return [
        Queue(
            name,
            Exchange(name, type=platform.exchange_type),
            routing_key=name,
            queue_arguments=dict(platform.queue_arguments) or None,
        )
        for name in platform.queues
    ]


_calculate_routing_key = base.calculate_routing_key


def _delay_routing_key(countdown: int, routing_key: str) -> Any:
    """Delay by at least a second.

    Celery cuts a countdown to whole seconds before it asks for the key, and kombu refuses 0: an ETA less than a
    second ahead would raise ValueError, in a retry too.
    """
    return _calculate_routing_key(max(countdown, 1), routing_key)


def _expire_in_a_worker(headers: dict[str, Any], properties: dict[str, Any], **_: Any) -> None:
    """Leave it to a worker to discard what has expired, as on Redis, and to write REVOKED as its result.

    Celery sends `expires` to RabbitMQ as well, which would move the message to the dead letters, with no result.
    """
    if headers.get("expires"):
        properties.pop("expiration", None)


def _use_rabbitmq() -> None:
    """Let RabbitMQ's URLs use our transports in this process, and short delays work."""
    for scheme, name in (("amqp", "Transport"), ("pyamqp", "Transport"), ("amqps", "SSLTransport")):
        transport.TRANSPORT_ALIASES[scheme] = f"celery_on_hosts.transport:{name}"
        transport._transport_cache.pop(scheme, None)
    base.calculate_routing_key = _delay_routing_key
    signals.before_task_publish.connect(_expire_in_a_worker, weak=False)


def _use_redis() -> None:
    """Let Redis's URLs use our transport in this process."""
    for scheme in ("redis", "rediss"):
        transport.TRANSPORT_ALIASES[scheme] = "celery_on_hosts.redis_transport:Transport"
        transport._transport_cache.pop(scheme, None)


class Loader(AppLoader):
    """Celery's usual loader, with the platform's settings below the application's own.

    Raises:
        PlatformError: ``CELERY_PLATFORM`` does not name a readable platform.json.
    """

    def __init__(self, app: Celery, **kwargs: Any) -> None:
        super().__init__(app, **kwargs)
        self.platform = Platform.load()
        self.defaults: dict[str, Any] = {}
        self._old_names = False
        if self.platform.broker == "rabbitmq":
            _use_rabbitmq()
        elif self.platform.redis_transport == "atomic":
            _use_redis()
        logs.install()
        masking.install()
        app.steps["worker"].add("celery_on_hosts.liveness:WorkerLiveness")
        app.steps["worker"].add("celery_on_hosts.neighbours:LoneWorker")
        app.steps["worker"].add("celery_on_hosts.wakeup:SignalWakeup")
        app.steps["worker"].add("celery_on_hosts.redelivery:Guard")
        app.steps["worker"].add("celery_on_hosts.limits:Limits")
        if self.platform.broker == "rabbitmq":
            app.steps["consumer"].add("celery_on_hosts.parking:SendOn")
        signals.beat_init.connect(self._on_beat_init, weak=False)

    @property
    def conf(self) -> Any:
        """What the application configured, read by Celery just before it sends ``on_after_configure``.

        The signal is connected here, not in the constructor: Celery's support for Django makes the loader when the
        app has no signals yet.
        """
        self.app.on_after_configure.connect(self._configure, weak=False)
        return super().conf

    def _configure(self, sender: Celery, source: Settings, **_: Any) -> None:
        """Put the platform's defaults between the application's settings and Celery's.

        ``add_defaults`` would put them above what ``config_from_object`` read.
        """
        platform = self.platform
        self.defaults = {
            "task_publish_retry_policy": PRODUCER_RETRY,
            "task_default_queue": "celery" if "celery" in platform.queues else platform.queues[0],
            "task_default_exchange_type": platform.exchange_type,
            "task_queues": platform_queues(platform),
            **{name: value for name, value in platform.settings.items() if name not in _WORKER_LIMITS},
        }
        # Celery before 5.7 looks for one of a setting's two names in every layer before it looks for the other.
        self._old_names = _TO_OLD_KEY["task_acks_late"] in source.maps[-1]
        for name in _MERGED:
            ours, theirs = self.defaults.get(name), source.get(name)
            if ours and theirs:
                source[name] = {**ours, **theirs}
        if self._old_names:
            self.defaults |= {
                _TO_OLD_KEY[name]: self.defaults.pop(name) for name in list(self.defaults) if name in _TO_OLD_KEY
            }
        for layers in (source.maps, source.defaults):
            layers.insert(len(layers) - 1, self.defaults)
        canary.register(sender)

    def on_worker_init(self) -> None:
        """A worker waits for its broker and its result store as long as it takes; see SERVER_RETRY."""
        from . import control, limits, pool, results

        pool.install()
        limits.install()
        results.install()
        # Touching the configuration makes sure that it is read, and our defaults with it.
        self.app.conf.finalize()
        self._serve()
        self._default("result_backend_always_retry", True)
        if self.platform.broker == "rabbitmq":
            control.own_mailbox(self.app)
        garbage.search_again()  # before the pool's processes are made

    def on_worker_process_init(self) -> None:
        """A child of the pool, which runs tasks, can wait for the broker as nobody else can: it is their only job."""
        self.on_worker_init()
        self._wait_while_blocked()

    def _on_beat_init(self, sender: Any, **_: Any) -> None:
        from . import liveness

        if sender.app is self.app:
            self._serve()
            self._wait_while_blocked()
            liveness.watch_beat(sender)

    def _serve(self) -> None:
        self._default("task_publish_retry_policy", SERVER_RETRY)

    def _wait_while_blocked(self) -> None:
        if self.platform.broker == "rabbitmq":
            from . import transport

            transport.patient = True

    def _default(self, name: str, value: Any) -> None:
        """Set a default of ours later on, unless the deployment decided it."""
        if name not in self.platform.settings:
            self.defaults[_TO_OLD_KEY[name] if self._old_names else name] = value
