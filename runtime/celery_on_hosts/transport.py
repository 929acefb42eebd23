"""RabbitMQ's transport with every publish confirmed, and no wait for a confirm without an end.

It takes the place of kombu's under the same URL schemes, so whatever ``broker_transport_options`` the application
sets, its publishes are confirmed unless it says ``confirm_publish: False`` itself.
"""

from __future__ import annotations

from typing import Any

from amqp.exceptions import RecoverableConnectionError
from celery.app import base
from kombu import transport
from kombu.transport import native_delayed_delivery, pyamqp

CONFIRM_TIMEOUT = 10.0


class Channel(pyamqp.Channel):
    """A channel whose confirms come in time or raise."""

    def basic_publish_confirm(self, *args: Any, **kwargs: Any) -> Any:
        """Publish and wait for the broker's confirm, at most ``confirm_timeout`` seconds.

        Raises:
            RecoverableConnectionError: no confirm in time. The connection is given up with it: on the same channel
                the late confirm would be taken for that of the next message.
        """
        timeout = kwargs.pop("confirm_timeout", None) or self.connection.confirm_timeout
        try:
            return super().basic_publish_confirm(*args, confirm_timeout=timeout, **kwargs)
        except TimeoutError as error:
            self.connection.collect()
            raise RecoverableConnectionError(f"the broker did not confirm the message in {timeout:g} s") from error


class Connection(pyamqp.Connection):
    """A connection that knows how long its channels wait for a confirm, in seconds."""

    Channel = Channel

    def __init__(self, *args: Any, confirm_timeout: float | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.confirm_timeout = confirm_timeout or CONFIRM_TIMEOUT


class Transport(pyamqp.Transport):
    """kombu's transport for ``amqp://``, with confirms."""

    Connection = Connection

    def establish_connection(self) -> Any:
        """Connect, with confirms on unless the options say otherwise."""
        client: Any = self.client
        client.transport_options.setdefault("confirm_publish", True)
        return super().establish_connection()


class SSLTransport(Transport, pyamqp.SSLTransport):
    """The same over TLS, for ``amqps://``."""


def _delay_routing_key(countdown: int, routing_key: str) -> str:
    """Delay by at least a second.

    Celery cuts a countdown to whole seconds before it asks for the key, and kombu refuses 0: an ETA less than a
    second ahead would raise ValueError, in a retry too.
    """
    return str(native_delayed_delivery.calculate_routing_key(max(countdown, 1), routing_key))


def install() -> None:
    """Let ``amqp``, ``pyamqp`` and ``amqps`` URLs use these transports in this process, and short ETAs work."""
    base.calculate_routing_key = _delay_routing_key
    for scheme, cls in (("amqp", Transport), ("pyamqp", Transport), ("amqps", SSLTransport)):
        transport.TRANSPORT_ALIASES[scheme] = f"{cls.__module__}:{cls.__name__}"
        transport._transport_cache.pop(scheme, None)
