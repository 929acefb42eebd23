"""The loader that brings the platform to an application that knows nothing of it.

Celery reads ``CELERY_LOADER`` for every app in every process, so workers, beat, web processes and shells all get the
same defaults. What the application sets itself, by whatever means, still wins.

Nothing here may import what gevent or eventlet have to patch first (sockets, threads, Celery's worker): their patching
looks at every object in memory, Celery's lazy ones load an app when looked at, and an app loads this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from celery import Celery, signals
from celery.app import base
from celery.app.defaults import _TO_OLD_KEY
from celery.app.utils import Settings
from celery.loaders.app import AppLoader
from kombu import transport
from kombu.entity import Exchange, Queue

from . import canary, delay, garbage, logs, masking, own_queues, result_store, versions
from .couplings import SETTINGS_LAYER, SHORT_DELAYS, TRANSPORT_ALIASES
from .names import UNROUTABLE
from .platform_file import Platform
from .upstream import replace, warn_of_left_out

# How a publish is tried again while the broker is away. A producer gets an error soon and can act on it; a worker and
# beat have nobody to report an error to, and nothing better to do than wait.
PRODUCER_RETRY: dict[str, Any] = {"max_retries": 6, "interval_start": 0, "interval_step": 0.5, "interval_max": 2}
SERVER_RETRY: dict[str, Any] = {"max_retries": 1_000_000, "interval_start": 0, "interval_step": 0.5, "interval_max": 5}

# Options in these are added one by one: an application that sets some of its own does not mean to lose the others.
_MERGED = ("broker_transport_options", "result_backend_transport_options")

# Settings of the platform that are for workers alone: celery_on_hosts.limits says why.
_WORKER_LIMITS = ("task_time_limit", "task_soft_time_limit")


def platform_queues(platform: Platform) -> list[Queue]:
    """Describe every queue of the platform, each with an exchange of its own name."""
    keep_unroutable = platform.broker == "rabbitmq" and not platform.managed_broker
    arguments = {"alternate-exchange": UNROUTABLE} if keep_unroutable else None
    return [
        Queue(
            name,
            Exchange(name, type=platform.exchange_type, arguments=arguments),
            routing_key=name,
            queue_arguments=dict(platform.queue_arguments) or None,
        )
        for name in platform.queues
    ]


def _delay_by_a_second(calculate_routing_key: Callable[[int, str], str]) -> Callable[[int, str], str]:
    """Make the function that gives a delay's routing key accept a countdown of 0.

    Celery cuts a countdown to whole seconds before it asks for the key, and kombu refuses 0: an ETA less than a
    second ahead would raise ValueError, in a retry too.
    """
    return lambda countdown, routing_key: calculate_routing_key(max(countdown, 1), routing_key)


def _expire_in_a_worker(headers: dict[str, Any], properties: dict[str, Any], **_: Any) -> None:
    """Leave it to a worker to discard an expired task, as on Redis, and to write REVOKED as its result.

    Celery sends `expires` to RabbitMQ as well, which would dead-letter the message, without a result.
    """
    if headers.get("expires"):
        properties.pop("expiration", None)


def _use_rabbitmq() -> None:
    """Let RabbitMQ's URLs use the platform's transports in this process, and short delays work."""
    _alias("celery_on_hosts.rabbitmq_transport:Transport", "amqp", "pyamqp")
    _alias("celery_on_hosts.rabbitmq_transport:SSLTransport", "amqps")
    if delay.is_ours():
        delay.install()
    elif SHORT_DELAYS.fits():
        replace(base, "calculate_routing_key", _delay_by_a_second)
    signals.before_task_publish.connect(_expire_in_a_worker, weak=False)


def _use_redis() -> None:
    """Let Redis's URLs use the platform's transport in this process."""
    _alias("celery_on_hosts.redis_transport:Transport", "redis", "rediss")


def _alias(name: str, *schemes: str) -> None:
    if TRANSPORT_ALIASES.fits():
        for scheme in schemes:
            transport.TRANSPORT_ALIASES[scheme] = name
            transport._transport_cache.pop(scheme, None)


class Loader(AppLoader):
    """Celery's usual loader, with the platform's settings below the application's own.

    Raises:
        PlatformError: ``CELERY_PLATFORM`` does not name a readable platform.json.
        UnknownUpstream: Celery or kombu differ too much from the versions that the runtime was tested with.
    """

    override_backends: ClassVar[dict[str, str]] = dict.fromkeys(
        ("redis", "rediss"), "celery_on_hosts.result_store:make"
    )

    def __init__(self, app: Celery, **kwargs: Any) -> None:
        super().__init__(app, **kwargs)
        self.platform = Platform.load()
        SETTINGS_LAYER.fits()
        self.defaults: dict[str, Any] = {}
        self._old_names = False
        if self.platform.broker == "rabbitmq":
            _use_rabbitmq()
        elif self.platform.redis_transport == "atomic":
            _use_redis()
        logs.install()
        masking.install()
        result_store.install()
        app.steps["worker"].add("celery_on_hosts.liveness:WorkerLiveness")
        app.steps["worker"].add("celery_on_hosts.mingle:SkipMingle")
        app.steps["worker"].add("celery_on_hosts.wakeup:SignalWakeup")
        app.steps["worker"].add("celery_on_hosts.redelivery:Guard")
        app.steps["worker"].add("celery_on_hosts.limits:Limits")
        app.steps["worker"].add("celery_on_hosts.revokes:Load")
        app.steps["consumer"].add("celery_on_hosts.revokes:Catch")
        if self.platform.broker == "rabbitmq":
            app.steps["consumer"].add("celery_on_hosts.dead.unroutable:PublishAgain")
            if delay.is_ours():
                app.steps["consumer"].add("celery_on_hosts.delay:Declare")
        signals.beat_init.connect(self._on_beat_init, weak=False)
        for started in (signals.worker_ready, signals.beat_init):  # logging is set up by then
            started.connect(warn_of_left_out, weak=False, dispatch_uid="celery_on_hosts.upstream")

    @property
    def conf(self) -> Any:
        """What the application configured; Celery reads it just before it sends ``on_after_configure``.

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
        if seconds := versions.heartbeat(platform):
            self.defaults["broker_heartbeat"] = seconds
        # Celery before 5.7 looks for a setting's one name in every layer before it looks for the other name.
        self._old_names = _TO_OLD_KEY["task_acks_late"] in source.maps[-1]
        for name in _MERGED:
            ours, theirs = self.defaults.get(name), source.get(name)
            if ours and theirs:
                source[name] = {**ours, **theirs}
        if self._follows_accept_content(source):
            self.defaults.pop("result_accept_content", None)
        queues = source.get("task_queues")
        if queues:
            source["task_queues"] = own_queues.complete(queues, platform_queues(platform))
        if self._old_names:
            self.defaults |= {
                _TO_OLD_KEY[name]: self.defaults.pop(name) for name in list(self.defaults) if name in _TO_OLD_KEY
            }
        for layers in (source.maps, source.defaults):
            layers.insert(len(layers) - 1, self.defaults)
        canary.register(sender)

    def _follows_accept_content(self, source: Settings) -> bool:
        """Return whether the application's results are of a kind that its accept_content alone allows, as in Celery."""

        def is_set(name: str) -> bool:
            return any(key in layer for layer in source.maps[:-1] for key in source._to_keys(name))

        ours = self.defaults.get("result_accept_content") or ()
        sets = is_set("accept_content") and is_set("result_serializer") and not is_set("result_accept_content")
        return sets and source.get("result_serializer") not in ours

    def on_worker_init(self) -> None:
        """Prepare a worker; it waits for its broker and its result store without end, see SERVER_RETRY."""
        from . import control, limits, pool, redelivery, results

        for module in (pool, limits, redelivery, results):
            module.install()
        # Touching the configuration makes sure that it is read, and our defaults with it.
        self.app.conf.finalize()
        self._serve()
        self._default("result_backend_always_retry", True)
        if self.platform.broker == "rabbitmq":
            control.own_mailbox(self.app)
            self._prefetch()
        garbage.search_again()  # before the pool's processes are made

    def on_worker_process_init(self) -> None:
        """Prepare a child of the pool, which runs tasks: only there a task can wait until the broker is not blocked."""
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

    def _prefetch(self) -> None:
        if delay.is_ours():
            from . import rabbitmq_transport

            rabbitmq_transport.prefetch_by_queue = delay.uses_quorum_queues(self.app)

    def _wait_while_blocked(self) -> None:
        if self.platform.broker == "rabbitmq":
            from . import rabbitmq_transport

            rabbitmq_transport.patient = True

    def _default(self, name: str, value: Any) -> None:
        """Set a default of the runtime's later on, unless the deployment decided it."""
        if name not in self.platform.settings:
            self.defaults[_TO_OLD_KEY[name] if self._old_names else name] = value
