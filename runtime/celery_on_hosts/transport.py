"""RabbitMQ's transport with every publish confirmed, and no wait for a confirm without an end.

It takes the place of kombu's under the same URL schemes, so whatever ``broker_transport_options`` the application
sets, its publishes are confirmed unless it says ``confirm_publish: False`` itself.
"""

from __future__ import annotations

from typing import Any

from amqp import spec
from amqp.exceptions import MessageNacked, RecoverableConnectionError
from kombu.exceptions import OperationalError
from kombu.transport import pyamqp

CONFIRM_TIMEOUT = 10.0

# Whether this process waits with its message while the broker is short of memory or disk. Tasks and beat have nobody to
# tell that it does not take messages; a producer hears of it.
patient = False


class Channel(pyamqp.Channel):
    """A channel whose confirms come in time or raise."""

    def basic_publish_confirm(self, *args: Any, **kwargs: Any) -> Any:
        """Publish and wait for the broker's confirm, at most ``confirm_timeout`` seconds.

        Raises:
            RecoverableConnectionError: no confirm in time. The connection is given up with it: on the same channel
                the late confirm would be taken for that of the next message.
            OperationalError: no confirm in time, for the broker has blocked its producers. This is not tried again: a
                broker reads all copies of a message when its alarm is over.
        """
        connection = self.connection  # None once it was lost, which the publish itself finds out
        timeout = kwargs.pop("confirm_timeout", None) or getattr(connection, "confirm_timeout", CONFIRM_TIMEOUT)
        try:
            return super().basic_publish_confirm(*args, confirm_timeout=timeout, **kwargs)
        except TimeoutError as error:
            late = error
        blocked = connection.blocked
        while patient and connection.blocked:
            try:
                return self.wait([spec.Basic.Ack, spec.Basic.Nack], callback=_confirmed, timeout=timeout)
            except TimeoutError as error:
                late = error
        connection.collect()
        if blocked:
            raise OperationalError("the broker takes no messages: it is short of memory or disk") from late
        raise RecoverableConnectionError(f"the broker did not confirm the message in {timeout:g} s") from late


def _confirmed(method: Any, *args: Any) -> None:
    if method == spec.Basic.Nack:
        raise MessageNacked


class Connection(pyamqp.Connection):
    """A connection that knows how long its channels wait for a confirm, in seconds, and whether it is blocked."""

    Channel = Channel

    def __init__(self, *args: Any, confirm_timeout: float | None = None, **kwargs: Any) -> None:
        self.blocked = False
        super().__init__(*args, on_blocked=self._block, on_unblocked=self._unblock, **kwargs)
        self.confirm_timeout = confirm_timeout or CONFIRM_TIMEOUT

    def _block(self, reason: str) -> None:
        self.blocked = True

    def _unblock(self) -> None:
        self.blocked = False


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
