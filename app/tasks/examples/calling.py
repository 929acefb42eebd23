"""How to call a task."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from celery import Task
from celery.result import AsyncResult
from celery.utils.log import get_task_logger
from pydantic import Field

from ..celery import app
from ..registry import Number, Seconds, Text, example
from ..tasks import add, fail, mul

log = get_task_logger(__name__)


@example()
def delay(x: Number = 2, y: Number = 3) -> AsyncResult[float]:
    """Send a task with `delay`."""
    return add.delay(x, y)


@example()
def apply_async(x: Number = 2, y: Number = 3) -> AsyncResult[float]:
    """Send a task with `apply_async`, which takes options too."""
    return add.apply_async((x,), {"y": y})


@example()
def direct(x: Number = 2, y: Number = 3) -> Any:
    """Call the function itself: no message, no worker."""
    return add(x, y)


@example()
def apply(x: Number = 2, y: Number = 3) -> AsyncResult[float]:
    """Run the whole task in this process: no message, but its retries, signals and a result."""
    return add.apply((x, y))


@example()
def send_task(x: Number = 2, y: Number = 3) -> AsyncResult[float]:
    """Send a task by its name, from a program that does not have its code."""
    return app.send_task("tasks.add", (x, y))


@example()
def countdown(x: Number = 2, y: Number = 3, seconds: Seconds = 5) -> AsyncResult[float]:
    """Start no sooner than in some seconds."""
    return add.apply_async((x, y), countdown=seconds)


@example()
def eta(x: Number = 2, y: Number = 3, seconds: Seconds = 5) -> AsyncResult[float]:
    """Start no sooner than at a time. It has a time zone, for the worker may have another one."""
    return add.apply_async((x, y), eta=datetime.now(UTC) + timedelta(seconds=seconds))


@example()
def expires(starts_in: Seconds = 3, expires_in: Seconds = 1) -> AsyncResult[float]:
    """Do not start later than that: the task is then REVOKED.

    This one expires before it may start.
    """
    return add.apply_async((2, 3), countdown=starts_in, expires=expires_in)


@example()
def queue(x: Number = 2, y: Number = 3) -> AsyncResult[float]:
    """Send a task to a queue."""
    return add.apply_async((x, y), queue="celery")


@example()
def priority(x: Number = 2, y: Number = 3, priority: Annotated[int, Field(ge=0, le=9)] = 9) -> AsyncResult[float]:
    """Let a message overtake others.

    RabbitMQ serves 9 first. Redis serves 0 first, and knows four steps: 0, 3, 6 and 9.
    """
    return add.apply_async((x, y), priority=priority)


@example()
def serializer(
    x: Number = 2, y: Number = 3, serializer: Literal["json", "msgpack", "yaml"] = "msgpack"
) -> AsyncResult[float]:
    """Write the arguments in another format. The worker has to accept it; it never accepts pickle."""
    return add.apply_async((x, y), serializer=serializer)


@example()
def compression(text: Text = "to and fro " * 18, compression: Literal["zlib", "bzip2"] = "zlib") -> AsyncResult[int]:
    """Compress a large message."""
    return length.apply_async((text,), compression=compression)


@app.task
def length(text: str) -> int:
    """Count the characters of a text."""
    return len(text)


@example()
def retry_policy(x: Number = 2, y: Number = 3) -> AsyncResult[float]:
    """Say how often to try again when the broker is away, and how long to wait in between, in seconds."""
    policy = {"max_retries": 3, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5}
    return add.apply_async((x, y), retry=True, retry_policy=policy)


@example()
def link(x: Number = 2, y: Number = 3, factor: Number = 10) -> AsyncResult[float]:
    """When a task succeeds, send another one, which is given its result. It is then among the children."""
    return add.apply_async((x, y), link=mul.s(factor))


@example()
def link_error(message: Text = "as asked") -> AsyncResult[None]:
    """When a task fails, send another one, which is given its id."""
    return fail.apply_async((message,), link_error=explain.s())


@app.task(bind=True, max_retries=5, default_retry_delay=1)
def explain(self: Task[Any, Any], failed_id: str) -> str:
    """Tell why a task has failed."""
    failed = app.AsyncResult(failed_id)
    if not failed.ready():  # a chord calls this a moment before it stores its failure
        raise self.retry()
    log.warning("%s has failed: %r", failed_id, failed.result)
    return repr(failed.result)


@example()
def ignore_result(x: Number = 2, y: Number = 3) -> AsyncResult[float]:
    """Keep nothing of this call: the task runs, and its state stays PENDING."""
    return add.apply_async((x, y), ignore_result=True)


@example()
def hidden_argument(user: Text = "ann", password: Text = "a secret") -> AsyncResult[str]:  # noqa: S107
    """Keep a secret out of logs, events and Flower. The message has it all the same: the worker needs it."""
    shown = repr((user, "***"))
    return sign_in.apply_async((user, password), argsrepr=shown, kwargsrepr="{}")  # type: ignore[call-arg]  # the stubs


@app.task(ignore_result=True)  # stored results have their arguments with them, as they are (result_extended)
def sign_in(user: str, password: str) -> None:
    """Check the password of a user, or so."""
    log.info("%s is signed in by a password of %s characters", user, len(password))


@example(raises=TypeError)
def wrong_arguments() -> AsyncResult[float]:
    """The caller hears that arguments are missing, before anything is sent."""
    return add.delay(2)


@example()
def unchecked_arguments() -> AsyncResult[float]:
    """With `typing=False` a task's arguments are not checked until it runs: the worker has the TypeError."""
    return unchecked.delay(2)


@app.task(typing=False)
def unchecked(x: float, y: float) -> float:
    """Add two numbers; the caller does not look at them."""
    return x + y
