"""Dead letters: messages that are kept, because no worker will run them: ``celery-dead``.

RabbitMQ moves a message to the queue ``celery.dead`` when a worker rejects it (``Reject``, or a task that the worker
does not know) or when its delivery limit is reached, and to ``celery.unroutable`` when its exchange knows no queue for
it. On Redis the transport appends the message to the list ``celery.dead``; there are no unroutable messages.

A message that is requeued is in its queue before it leaves the dead letters: a crash in between leaves it twice, and
never loses it.
"""
