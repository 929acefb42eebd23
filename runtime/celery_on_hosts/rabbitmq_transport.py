"""A transport for RabbitMQ that confirms every publish, and waits for no confirm without end.

The transport takes the place of kombu's under the same URL schemes, so whatever ``broker_transport_options`` the
application sets, its publishes are confirmed unless it says ``confirm_publish: False`` itself.
"""

from __future__ import annotations

from typing import Any

from amqp import spec
from amqp.exceptions import MessageNacked, RecoverableConnectionError
from kombu.exceptions import OperationalError
from kombu.transport import pyamqp

from .couplings import PREFETCH_OF_OLD, RABBITMQ_TRANSPORT

RABBITMQ_TRANSPORT.fits()
PREFETCH_OF_OLD.fits()

CONFIRM_TIMEOUT = 10.0  # seconds

# Whether this process waits with its message while the broker is short of memory or disk. A producer gets an error;
# tasks and beat wait, because they have nobody to report it to.
patient = False

# Whether a worker of this process counts what it prefetches for each queue, not for all queues together, which RabbitMQ
# refuses for quorum queues. Celery has asked for the first since 5.5.
prefetch_by_queue = False


class Channel(pyamqp.Channel):
    """A channel whose confirms come in time, or raise."""

    def basic_publish_confirm(self, *args: Any, **kwargs: Any) -> Any:
        """Publish and wait for the broker's confirm, at most ``confirm_timeout`` seconds.

        Raises:
            RecoverableConnectionError: no confirm in time. The connection is closed: on the same channel the late
                confirm would be taken for that of the next message.
            OperationalError: no confirm in time, because the broker has blocked its producers. Celery does not try this
                again: a broker reads all copies of a message when its alarm is over.
        """
        connection = self.connection  # None once the connection is lost, which the publish itself finds out
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
            raise OperationalError("the broker accepts no messages: it is short of memory or disk") from late
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

    def qos_semantics_matches_spec(self, connection: Any) -> bool:
        """Return whether the prefetch count of a channel is to be set without the flag ``global``."""
        return prefetch_by_queue or bool(super().qos_semantics_matches_spec(connection))


class SSLTransport(Transport, pyamqp.SSLTransport):
    """The same over TLS, for ``amqps://``."""
