"""RabbitMQ's transport with every publish confirmed, and no wait for a confirm without an end.

It takes the place of kombu's under the same URL schemes, so whatever ``broker_transport_options`` the application
sets, its publishes are confirmed unless it says ``confirm_publish: False`` itself.
"""

from __future__ import annotations

from typing import Any

from amqp.exceptions import RecoverableConnectionError
from kombu.transport import pyamqp

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
