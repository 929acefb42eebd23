"""Everything that the runtime replaces, or reaches into, inside Celery, kombu, billiard and amqp.

A table for whoever updates one of them: run the runtime's tests with the new version, read what changed in the parts
that ``needs`` names, then add the version to ``upstream.TESTED``. ``retired_by`` says when an entry, and the code that
uses it, can go.
"""

from __future__ import annotations

from .upstream import Coupling, Need

_REDIS_CHANNEL = "kombu.transport.redis:Channel"
_REDIS_QOS = "kombu.transport.redis:QoS"
_VIRTUAL_QOS = "kombu.transport.virtual:QoS"
_REDIS_BACKEND = "celery.backends.redis:RedisBackend"
_JOB = "billiard.pool:ApplyResult.__init__"

# --- settings and connections, of every process ---------------------------------------------------------------------

SETTINGS_LAYER = Coupling(
    "the platform's settings below the application's own",
    module="loader",
    why="an application gets none of the platform's safe defaults",
    needs=(
        Need("celery.app.defaults:_TO_OLD_KEY"),
        Need("celery.app.utils:Settings.maps"),
        Need("celery.app.utils:Settings.add_defaults", uses=("defaults", "maps")),
        Need("celery.app.utils:Settings._to_keys", takes=("self", "key")),
    ),
    retired_by="a way of Celery's to add defaults below config_from_object(): add_defaults() puts them above",
    required=True,
)

TRANSPORT_ALIASES = Coupling(
    "the platform's transports for the brokers' usual URLs",
    module="loader",
    why="messages travel by kombu's transports, which may lose them",
    needs=(Need("kombu.transport:TRANSPORT_ALIASES"), Need("kombu.transport:_transport_cache")),
    retired_by="a way of kombu's to register a transport for a URL's scheme",
    required=True,
)

RESULT_STORE = Coupling(
    "the application's own result store in place of the platform's",
    module="result_store",
    why="the platform's result store is used, whatever the application names",
    needs=(
        Need("celery.app.utils:Settings.result_backend.fget", ("self",), ("CELERY_RESULT_BACKEND", "first")),
        Need("celery.app.utils:Settings.first"),
    ),
    retired_by="nothing: Celery puts CELERY_RESULT_BACKEND above the application's settings on purpose",
)

REDIS_TRANSPORT = Coupling(
    "taking messages from Redis in one step",
    module="redis_claims, redis_transport",
    why="a worker that is killed can lose the message that it receives, as with celery_redis_transport: stock",
    needs=(
        Need(f"{_REDIS_CHANNEL}._brpop_start", ("self", "timeout"), ("_queue_cycle", "_in_poll", "active_queues")),
        Need(f"{_REDIS_CHANNEL}._brpop_read", ("self", "options"), ("_queue_cycle", "_in_poll", "_deliver")),
        Need(f"{_REDIS_CHANNEL}._get", ("self", "queue")),
        Need(f"{_REDIS_CHANNEL}._put", ("self", "queue", "message"), ("_q_for_pri", "_get_message_priority")),
        Need(f"{_REDIS_CHANNEL}._q_for_pri", ("self", "queue", "pri")),
        Need(f"{_REDIS_CHANNEL}._connparams"),
        Need(f"{_REDIS_CHANNEL}._on_connection_disconnect", ("self", "connection")),
        Need(f"{_REDIS_CHANNEL}._flush_brpop_reauth", ("self",), since="5.7"),
        Need(f"{_REDIS_CHANNEL}._maybe_update_queues_expire", ("self", "client", "queue"), since="5.7"),
        Need(f"{_REDIS_QOS}.append", ("self", "message", "delivery_tag"), ("unacked_key", "unacked_index_key")),
        Need(f"{_REDIS_QOS}.restore_by_tag", ("self", "tag", "client", "leftmost")),
        Need(f"{_REDIS_CHANNEL}.typeof", ("self", "exchange", "default")),
        Need(f"{_REDIS_CHANNEL}._queue_bind", ("self", "exchange", "routing_key", "pattern", "queue")),
        Need(f"{_REDIS_CHANNEL}._put_fanout", ("self", "exchange", "message", "routing_key")),
        Need(f"{_REDIS_QOS}.restore_visible"),
        Need(f"{_VIRTUAL_QOS}.__init__", ("self", "channel"), ("_delivered", "_dirty", "_on_collect")),
        Need(f"{_VIRTUAL_QOS}.append", ("self", "message", "delivery_tag")),
        Need(f"{_VIRTUAL_QOS}.ack", ("self", "delivery_tag")),
        Need(f"{_VIRTUAL_QOS}.restore_unacked_once", ("self", "stderr")),
        Need(f"{_VIRTUAL_QOS}._flush", ("self",)),
    ),
    retired_by="a transport of kombu's that takes and records a message in one command "
    "(celery/kombu#305 and #1836, celery/celery#4354, all open)",
    required=True,
    broker="redis",
)

REDIS_QUEUES = Coupling(
    "the length of Redis's queues, and dead letters that return to them",
    module="health.queues, dead.redis",
    why="celery-health and celery-dead do not work",
    needs=(
        Need(f"{_REDIS_CHANNEL}._size", ("self", "queue")),
        Need(f"{_REDIS_CHANNEL}._put", ("self", "queue", "message")),
        Need(f"{_REDIS_CHANNEL}._next_delivery_tag", ("self",)),
        Need(f"{_REDIS_CHANNEL}.global_keyprefix"),
        Need(f"{_REDIS_CHANNEL}.pool"),
    ),
    retired_by="nothing: virtual transports have no public way to ask for a queue's length",
    required=True,
    broker="redis",
)

RABBITMQ_TRANSPORT = Coupling(
    "confirms from RabbitMQ that come in time or raise",
    module="rabbitmq_transport",
    why="a publish to a broker that is short of memory or disk waits without end",
    needs=(
        Need("kombu.transport.pyamqp:Transport.establish_connection", ("self",), ("transport_options", "Connection")),
        Need("kombu.transport.pyamqp:SSLTransport"),
        Need("amqp.channel:Channel.basic_publish_confirm", ("self",), ("confirm_timeout", "wait")),
        Need("amqp.connection:Connection.__init__", uses=("on_blocked", "on_unblocked", "confirm_publish")),
        Need("amqp.connection:Connection.collect", ("self",)),
        Need("amqp.channel:Channel.wait", ("self", "method", "callback", "timeout")),
    ),
    retired_by="confirms of kombu's with a timeout by default, and an error while the broker blocks "
    "(celery/celery#2689, closed without one)",
    required=True,
    broker="rabbitmq",
)

SHORT_DELAYS = Coupling(
    "delays of less than a second on RabbitMQ",
    module="loader",
    why="a task whose ETA is less than a second ahead cannot be sent, and a retry that is due so soon fails",
    needs=(Need("celery.app.base:calculate_routing_key", ("countdown", "routing_key"), since="5.5"),),
    retired_by="a Celery that does not cut a countdown below a second to 0 before it asks for the routing key",
    broker="rabbitmq",
)

NATIVE_DELAY = Coupling(
    "RabbitMQ's queues for delayed messages, declared before anything is sent",
    module="check.declare",
    why="a task with an ETA that is sent before the first worker has started is lost",
    needs=(
        Need(
            "kombu.transport.native_delayed_delivery:declare_native_delayed_delivery_exchanges_and_queues",
            ("connection", "queue_type"),
            since="5.5",
        ),
        Need(
            "kombu.transport.native_delayed_delivery:bind_queue_to_native_delayed_delivery_exchange",
            ("connection", "queue"),
            since="5.5",
        ),
    ),
    retired_by="producers that declare these queues: today only a worker does",
    required=True,
    broker="rabbitmq",
)

DELAYS_OF_OLD = Coupling(
    "delays that RabbitMQ keeps, for a Celery before 5.5",
    module="delay",
    why="tasks with an ETA block the workers that receive them until the tasks are due",
    needs=(Need("celery.app.amqp:AMQP._create_task_sender", ("self",), ("exchange_type", "queue"), until="5.5"),),
    retired_by="Celery 5.5, which does the same",
    required=True,
    broker="rabbitmq",
)

PREFETCH_OF_OLD = Coupling(
    "a prefetch count that quorum queues accept, for a Celery before 5.5",
    module="rabbitmq_transport",
    why="RabbitMQ closes the connection of a worker that reads a quorum queue",
    needs=(
        Need("celery.worker.consumer.tasks:Tasks.start", ("self", "c"), ("qos_semantics_matches_spec",), until="5.5"),
        Need("kombu.transport.pyamqp:Transport.qos_semantics_matches_spec", ("self", "connection")),
    ),
    retired_by="Celery 5.5, which looks for quorum queues",
    required=True,
    broker="rabbitmq",
)

HIDDEN_PASSWORDS = Coupling(
    "hiding the passwords of all URLs where settings are shown",
    module="masking",
    why="`celery report`, `inspect conf` and Flower show the passwords of URLs in an application's settings",
    needs=(Need("celery.app.utils:filter_hidden_settings", ("conf",)),),
    retired_by="a Celery that hides them by value: celery/celery#9569 and #10398 hid more settings by their names",
)

TASK_IN_LOG_LINES = Coupling(
    "a task's name and id in front of what it logs",
    module="logs",
    why="lines that a task logs by a logger of its own do not tell which task they come from",
    needs=(Need("celery._state:get_current_task", ()), Need("celery.utils.log:ColorFormatter.__init__")),
    retired_by="a log format of Celery's worker with the task, for every logger",
)

# --- workers --------------------------------------------------------------------------------------------------------

HANDED_JOBS = Coupling(
    "remembering, in a prefork pool that stops, the jobs that were handed to a child",
    module="pool",
    why="a worker that stops under load runs tasks twice, and may wait 30 s",
    needs=(
        Need("celery.concurrency.asynpool:AsynPool.flush", ("self",), ("_cache", "_accepted")),
        Need(_JOB, uses=("_accepted", "_time_accepted")),
        Need("billiard.pool:ApplyResult._write_to"),
    ),
    retired_by="an AsynPool.flush() that keeps jobs that a child has been sent: it discards them since "
    "celery/celery#6863 (duplicates at a warm stop: #3796)",
)

TIME_LIMITS = Coupling(
    "the platform's time limits for tasks without limits of their own",
    module="limits",
    why="the platform's time limits do not apply, and a soft limit beyond the hard one delays the hard one",
    needs=(
        Need("celery.concurrency.prefork:TaskPool.apply_async", ("self", "target", "args", "kwargs", "options")),
        Need("celery.worker:WorkController.setup_defaults", uses=("time_limit", "soft_time_limit")),
        Need(_JOB, uses=("_timeout", "_soft_timeout")),
    ),
    retired_by="a pool of Celery's that counts both limits from a task's start (celery/celery#3618 was closed for "
    "limits in the right order), and limits of a worker that an application's own replace together",
)

RUNS_AGAIN_AFTER_SUCCESS = Coupling(
    "running a task again whose process was killed after its success was stored",
    module="redelivery",
    why="a chord may never get its body when the last task of its header is killed before the chord counts it",
    needs=(Need("celery.worker.request:Request._success_was_stored", ("self",), since="5.7"),),
    retired_by="a Celery that counts a task for its chord before, or together with, storing its success",
)

REDELIVERY = Coupling(
    "receiving messages with a look at what was delivered before",
    module="redelivery",
    why="a task that is delivered again runs again, and a task that kills its worker is dead-lettered with others",
    needs=(
        Need("celery.worker.strategy:default", ("task", "app", "consumer")),
        Need("celery.app.task:Task.Strategy"),
        Need("celery.worker.state:active_requests"),
        Need("celery.concurrency.asynpool:AsynPool.flush", uses=("_cache",)),
        Need(_JOB, uses=("correlation_id",)),
    ),
    retired_by="nothing: Task.Strategy is Celery's extension point, the jobs of its pool are not public",
)

REVOKES = Coupling(
    "revokes that outlast a worker",
    module="revokes",
    why="a restart or a release forgets which tasks were revoked, and they run",
    needs=(
        Need("celery.worker.control:Panel.data"),
        Need("celery.worker.state:revoked._data"),
        Need("celery.worker.state:revoked.maxlen"),
        Need("celery.worker.state:revoked_stamps"),
    ),
    retired_by="a worker's state file that is written with each revoke, and read again by the worker's successor",
)

OWN_MAILBOX = Coupling(
    "a mailbox for remote control of each process's own",
    module="control",
    why="a worker cannot be controlled until the worker that it replaces has ended",
    needs=(Need("kombu.pidbox:Mailbox.get_queue", ("self", "hostname")),),
    retired_by="mailboxes of kombu's that are named by process",
    broker="rabbitmq",
)

BEAT_TICK = Coupling(
    "the time of beat's last tick",
    module="liveness",
    why="celery-health takes beat for hanging",
    needs=(Need("celery.beat:Service.scheduler"), Need("celery.beat:Scheduler.tick", ("self",))),
    retired_by="a signal of Celery's after each tick",
)

# --- results --------------------------------------------------------------------------------------------------------

FULL_STORE = Coupling(
    "waiting for a result store that is full",
    module="results",
    why="a task that ends while Redis is at maxmemory is acknowledged without a result",
    needs=(Need(f"{_REDIS_BACKEND}.exception_safe_to_retry", ("self", "exc")),),
    retired_by="a Celery that tries again at maxmemory (celery/celery#5716, open)",
)

FINAL_SUCCESS = Coupling(
    "storing no state over a success",
    module="results",
    why="a retry that succeeds at once may leave the result RETRY for ever",
    needs=(
        Need(f"{_REDIS_BACKEND}._set_with_state", ("self", "key", "value", "state")),
        Need(f"{_REDIS_BACKEND}.ensure", ("self", "fun", "args")),
        Need(f"{_REDIS_BACKEND}.encode"),
    ),
    retired_by="a Redis backend that compares and stores in one step: celery/celery#6173 does it in two",
)

CHORDS = Coupling(
    "counting a task for its chord until the result store answers",
    module="results",
    why="a chord never gets its body when Redis or a worker is lost while its last task is counted",
    needs=(
        Need(f"{_REDIS_BACKEND}.on_chord_part_return", ("self", "request", "state", "result")),
        Need(f"{_REDIS_BACKEND}.chord_error_from_stack", ("self", "callback", "exc")),
        Need(f"{_REDIS_BACKEND}._chord_publish_claim_expires", ("self", "initial_expires", "callback"), since="5.7"),
        Need(f"{_REDIS_BACKEND}.get_key_for_group", ("self", "group_id", "key")),
    ),
    retired_by="a Celery that tries again to count and to send the body (celery/celery#3363, closed without)",
)

# --- the check of a release -----------------------------------------------------------------------------------------

TRIAL_CALLS = Coupling(
    "trying delay() of each task without sending it",
    module="check.calls",
    why="options of tasks that Celery refuses are found only when the task is sent",
    needs=(
        Need("celery.app.task:Task.apply_async", uses=("producer", "shadow", "typing", "_get_exec_options")),
        Need("celery.app.amqp:AMQP.send_task_message"),
        Need("celery.app.base:Celery.send_task", uses=("router", "send_task_message", "producer_or_acquire")),
    ),
    retired_by="a Celery that checks options where a task is made",
)

ALL = tuple(value for value in list(globals().values()) if isinstance(value, Coupling))
