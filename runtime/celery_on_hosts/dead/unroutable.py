"""A worker's step that publishes unroutable messages again.

An unroutable message becomes routable by itself: RabbitMQ, as it starts, may move a delayed message on before it has
read its bindings, and a queue may be declared after the first message was sent to it.
"""

from __future__ import annotations

from threading import Thread
from typing import Any

from amqp.exceptions import MessageNacked
from celery import Celery, bootsteps
from celery.utils.log import get_logger

from .rabbitmq import unroutable

logger = get_logger(__name__)


class PublishAgain(bootsteps.StartStopStep):
    """Publishes the unroutable messages again each time that the worker has connected."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer: Any) -> None:
        """Begin in a thread: there may be many messages."""
        Thread(target=self._publish, args=(consumer.app,), name="celery-on-hosts-unroutable", daemon=True).start()

    def _publish(self, app: Celery) -> None:
        with app.connection_for_write() as connection:
            try:
                if published := unroutable(connection).publish_again():
                    logger.warning("%d unroutable messages were published again", published)
            except (*connection.connection_errors, *connection.channel_errors, MessageNacked) as error:
                # The messages are where they were, and the next connection tries again.
                logger.warning("unroutable messages could not be published again: %s", error)
