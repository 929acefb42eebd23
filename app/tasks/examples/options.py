"""What a task may be told where it is defined."""

import os
import signal
import time
from contextlib import suppress
from functools import cached_property
from typing import Annotated, Any

from billiard import current_process
from celery import Task, group, shared_task
from celery.exceptions import SoftTimeLimitExceeded
from celery.result import AsyncResult
from celery.worker.request import Request
from pydantic import BaseModel, Field

from ..celery import app
from ..registry import Number, Seconds, Text, example
from ..tasks import flaky

Failures = Annotated[int, Field(ge=0, le=6)]
Few = Annotated[int, Field(ge=1, le=10)]


@example()
def bind() -> AsyncResult[dict[str, Any]]:
    """`bind=True` hands the task itself to the function, and with it its request: what is known of this run."""
    return who_am_i.delay()


@app.task(bind=True)
def who_am_i(self: Task[Any, Any]) -> dict[str, Any]:
    """Tell what a task can know of itself."""
    request, delivery = self.request, self.request.delivery_info or {}
    return {
        "name": self.name,
        "id": request.id,
        "retries": request.retries,
        "worker": request.hostname,
        "queue": delivery.get("routing_key"),
        "priority": delivery.get("priority"),
        "time limits": request.timelimit,
        "pid": os.getpid(),
    }


class Sieve(Task[Any, Any]):
    """A task that knows the primes up to a thousand. There is one of it a process, which finds them once."""

    @cached_property
    def primes(self) -> set[int]:
        """The primes, found when they are asked for first."""
        return {n for n in range(2, 1000) if all(n % d for d in range(2, int(n**0.5) + 1))}


@example()
def base(number: Annotated[int, Field(ge=0, le=999)] = 97) -> AsyncResult[bool]:
    """A base class holds what tasks share: a connection, a model, a cache."""
    return is_prime.delay(number)


@app.task(base=Sieve, bind=True)
def is_prime(self: Sieve, number: int) -> bool:
    """Look a number up."""
    return number in self.primes


@example()
def explicit_name(number: Number = 7) -> AsyncResult[float]:
    """A name of its own stays when the module is renamed: messages that wait have it in them."""
    return square.delay(number)


@app.task(name="maths.square")
def square(number: float) -> float:
    """Square a number."""
    return number * number


@example()
def shared(number: Number = 3) -> AsyncResult[float]:
    """`shared_task` needs no application, and belongs to each: for a package that many projects use."""
    return cube.delay(number)


@shared_task
def cube(number: float) -> float:
    """Cube a number."""
    return number**3


@example()
def retries(failures: Failures = 1) -> AsyncResult[int]:
    """`raise self.retry(exc=…)` tries again after `default_retry_delay`; after `max_retries`, the error stays."""
    return fetch.delay(failures)


@app.task(bind=True, max_retries=3, default_retry_delay=1)
def fetch(self: Task[Any, Any], failures: int) -> int:
    """Fail the first few attempts."""
    try:
        if self.request.retries < failures:
            raise ConnectionError(f"attempt {self.request.retries + 1} failed")
    except ConnectionError as error:
        raise self.retry(exc=error) from error
    return self.request.retries + 1


@example()
def backoff(failures: Failures = 2) -> AsyncResult[int]:
    """`autoretry_for` tries again after an error of a kind: in about 1, 2, 4, 8 s, up to `retry_backoff_max`.

    A random part (`retry_jitter`) keeps many that failed together from coming back together.
    """
    return flaky.delay(failures)


@example()
def throws(key: Text = "nothing") -> AsyncResult[str]:
    """An error that a task is known to raise is a failure, and a line in the log without a traceback."""
    return look_up.delay(key)


@app.task(throws=(KeyError,))
def look_up(key: str) -> str:
    """Return the capital of a country."""
    return {"France": "Paris", "Japan": "Tokyo"}[key]


@example()
def rate_limit(calls: Few = 3) -> Any:
    """`rate_limit`: each worker starts no more of them a second, minute or hour."""
    return group(limited.s() for _ in range(calls)).apply_async()


@app.task(rate_limit="1/s")
def limited() -> float:
    """Return the time, in seconds since 1970."""
    return time.time()


@example()
def soft_time_limit(seconds: Seconds = 3) -> AsyncResult[str]:
    """At the soft limit an exception is raised in the task, which may tidy up."""
    return careful.delay(seconds)


@app.task(soft_time_limit=1, time_limit=5)
def careful(seconds: int) -> str:
    """Sleep, and say whether there was time for it."""
    try:
        time.sleep(seconds)
    except SoftTimeLimitExceeded:
        return "ran out of time, and tidied up"
    return "done in time"


@example()
def time_limit(seconds: Seconds = 10) -> AsyncResult[None]:
    """At the hard limit the process is killed and replaced: the task fails, and its code hears nothing of it."""
    return endless.delay(seconds)


@app.task(soft_time_limit=1, time_limit=2)
def endless(seconds: int) -> None:
    """Sleep, and swallow the soft limit's exception, as code does that expects no such thing."""
    with suppress(Exception):
        time.sleep(seconds)
    time.sleep(seconds)


@example()
def ignored(fails: bool = False) -> AsyncResult[str]:
    """With `ignore_result` nothing is stored, with `store_errors_even_if_ignored` a failure is."""
    return quiet.delay(fails)


@app.task(ignore_result=True, store_errors_even_if_ignored=True)
def quiet(fails: bool) -> str:
    """Return what nobody will see, or fail."""
    if fails:
        raise RuntimeError("this is kept")
    return "this is not kept"


@example()
def acks_late() -> AsyncResult[str]:
    """Late acknowledgement: a task whose process dies is run again, by `reject_on_worker_lost`."""
    return survivor.delay()


@app.task(bind=True, acks_late=True, reject_on_worker_lost=True)
def survivor(self: Task[Any, Any]) -> str:
    """Kill the own process at the first try, if it is one of a prefork worker's."""
    again = (self.request.delivery_info or {}).get("redelivered")
    if not again and current_process().daemon:
        os.kill(os.getpid(), signal.SIGKILL)
    return "ran again, and was not lost" if again else "this worker has no process to spare"


class Order(BaseModel):
    """What is ordered."""

    product: str
    quantity: int = Field(ge=1)


class Offer(BaseModel):
    """What it costs."""

    text: str
    total: float


@example()
def pydantic_arguments(product: Text = "tea", quantity: Annotated[int, Field(ge=-9, le=99)] = 3) -> AsyncResult[Any]:
    """With `pydantic=True` a task takes and returns models: dicts in the message, checked in the worker."""
    return offer.delay({"product": product, "quantity": quantity})


@app.task(pydantic=True)
def offer(order: Order) -> Offer:
    """Make an offer, at 2.50 a piece."""
    return Offer(text=f"{order.quantity} of {order.product}", total=2.5 * order.quantity)


class Announced(Request):
    """The worker's side of a task. This one stores that a worker has it, before a process of the pool runs it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.task.backend.store_result(self.id, {"worker": self.hostname}, "RECEIVED")


class Announcing(Task[Any, Any]):
    """A task with such a request."""

    Request = f"{__name__}:Announced"


@example()
def custom_request(calls: Few = 3) -> Any:
    """A request class of its own sees what happens to a task in the worker: here it stores a state with metadata.

    The tasks have a rate limit, so that some are RECEIVED for a while.
    """
    return group(announced.s() for _ in range(calls)).apply_async()


@app.task(base=Announcing, rate_limit="1/s")
def announced() -> str:
    """Do nothing much."""
    return "done"
