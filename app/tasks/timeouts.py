"""How long a process that answers people waits for what it depends on."""

from typing import Any

from celery import Celery

CONNECT = 2  # seconds, each
ANSWER = 3
RETRY_POLICY = {"max_retries": 1, "interval_start": 0.2, "interval_step": 0, "interval_max": 0.2}


def answer_in_time(app: Celery) -> None:
    """Bound each wait for the broker and the results by seconds, for a process that answers people.

    A worker waits for a broker that comes back; a request must say that it is away. So this is for the web process
    alone, and overrides there what the environment's loader sets for workers.
    """
    app.conf.update(
        broker_connection_timeout=CONNECT,
        broker_pool_acquire_timeout=CONNECT,
        task_publish_retry_policy=RETRY_POLICY,
        result_backend_always_retry=False,
        redis_socket_connect_timeout=CONNECT,
        redis_socket_timeout=ANSWER,
    )
    options: dict[str, Any] = {
        "redis": {"socket_connect_timeout": CONNECT, "socket_timeout": ANSWER},
        # 202 means that the broker has confirmed the task, wherever the app runs.
        "amqp": {"confirm_publish": True, "read_timeout": ANSWER, "write_timeout": ANSWER},
    }.get(app.connection_for_write().transport.driver_type, {})
    app.conf.broker_transport_options = {**(app.conf.broker_transport_options or {}), **options}
