"""A worker waits for a result store that is full or away, and so do chords.

Celery's Redis backend counts only lost connections among what is worth another try. At ``maxmemory`` Redis refuses to
write: the error ended the task outside of its body, before it had a final state, and its message was acknowledged
(Celery 5.7: make chaos FAULT=F16 BROKER=redis lost 38 of 211 tasks).

Celery tries again to store a result, but not to count the task for its chord: a Redis that was away at that moment
cost the chord its body (FAULT=F13, either broker). The count is made once for each task, however often it is asked for.

Whoever counts the last task of a chord claims the chord, and sends its body. If that process is killed in between, the
task that is delivered again finds the claim and leaves the body to the dead process. Here a task that is delivered
again waits until the claim is done or over (SOAK=40m: 2 of 61,171). And where Redis is lost between the claim and the
sending, Celery stores that the body has failed, and forgets the chord's size (the same, of 62,656); here the task
tries again, with the size that was read before. The size is restored only where it is missing and nobody holds a claim:
a second run of the task must not take the claim away from a first run that is still publishing the body. A claim that
is being published lasts for as long as publishing may be tried, which a worker does without end; a minute has to do.

Celery looks whether a task has succeeded before it stores another state of it, in two steps. A retry that is due at
once can run and succeed in another child between them: its result said RETRY for ever. Here both are one step.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

from celery import states
from celery.utils.log import get_logger

from .couplings import CHORDS, FINAL_SUCCESS, FULL_STORE
from .upstream import replace

# Seconds between two tries at a chord. Whoever is about to send its body has claimed it for twice
# result_chord_join_timeout (3 s): a try that failed after its claim must not meet it again.
PAUSE = 8.0
PAUSE_FOR_CLAIM = 1.0

CLAIM_SECONDS = 60
DONE = b"done"  # what Celery leaves of a claim whose body was sent

# KEYS: a result. ARGV: what is to be stored, seconds that it is kept or 0, what a success has in it.
SET_UNLESS_SUCCEEDED = """
local stored = redis.call('GET', KEYS[1])
if stored and string.find(stored, ARGV[3], 1, true) then return end
if tonumber(ARGV[2]) > 0 then
  redis.call('SETEX', KEYS[1], ARGV[2], ARGV[1])
else
  redis.call('SET', KEYS[1], ARGV[1])
end
redis.call('PUBLISH', KEYS[1], ARGV[1])
"""

# KEYS: a chord's size, the claim to its body. ARGV: the size, seconds that it is kept or 0.
# Returns 0 where the size is missing and a claim is held, so that the caller has to wait; otherwise 1.
RESTORE_SIZE = """
local claim = redis.call('GET', KEYS[2])
if claim == 'done' or redis.call('EXISTS', KEYS[1]) == 1 then return 1 end
if claim then return 0 end
redis.call('SET', KEYS[1], ARGV[1])
if tonumber(ARGV[2]) > 0 then redis.call('EXPIRE', KEYS[1], ARGV[2]) end
return 1
"""

logger = get_logger(__name__)

_counting = threading.local()  # now: whether this thread counts a task for its chord


def install() -> None:
    """Change the Redis backend of this process. Idempotent. Without redis-py there is nothing to change."""
    try:
        import redis.exceptions  # noqa: F401
    except ImportError:
        return
    from celery.backends.redis import RedisBackend

    if FULL_STORE.fits():
        replace(RedisBackend, "exception_safe_to_retry", _wait_while_full)
    if FINAL_SUCCESS.fits():
        replace(RedisBackend, "_set_with_state", _keep_success)
    if CHORDS.fits():
        replace(RedisBackend, "on_chord_part_return", _count_until_done)
        replace(RedisBackend, "chord_error_from_stack", _raise_what_may_pass)
        replace(RedisBackend, "_chord_publish_claim_expires", _bound_claim)


def _wait_while_full(impatient: Callable[[Any, BaseException], Any]) -> Callable[[Any, BaseException], bool]:
    @wraps(impatient)
    def exception_safe_to_retry(self: Any, exc: BaseException) -> bool:
        # Celery before 5.6 does not try again when the store is away.
        return _is_full(exc) or isinstance(exc, getattr(self, "connection_errors", ())) or bool(impatient(self, exc))

    return exception_safe_to_retry


def _is_full(error: BaseException) -> bool:
    """Return whether Redis refuses to write for want of memory."""
    from redis import exceptions

    if isinstance(error, exceptions.ExecAbortError):
        return "OOM" in str(error)
    # redis-py before 5.0 has no class for it, and leaves the server's code in the message.
    return isinstance(error, getattr(exceptions, "OutOfMemoryError", ())) or (
        isinstance(error, exceptions.ResponseError) and str(error).startswith("OOM ")
    )


def _keep_success(careless: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(careless)
    def _set_with_state(self: Any, key: Any, value: Any, state: str) -> Any:
        if state in states.READY_STATES or self.serializer != "json":
            return careless(self, key, value, state)
        success = self.encode({"status": states.SUCCESS}).strip("{}")
        return self.ensure(self.client.eval, (SET_UNLESS_SUCCEEDED, 1, key, value, int(self.expires or 0), success))

    return _set_with_state


def _count_until_done(once: Callable[..., Any]) -> Callable[..., None]:
    @wraps(once)
    def on_chord_part_return(self: Any, request: Any, *args: Any, **kwargs: Any) -> None:
        again = bool((getattr(request, "delivery_info", None) or {}).get("redelivered"))
        size, failed = None, False
        while True:
            pause = PAUSE_FOR_CLAIM
            try:
                if request.group and size is None:
                    size = self.client.get(self.get_key_for_group(request.group, ".s"))
                if not failed or not size or _restore_size(self, request.group, int(size)):
                    _counting.now = True
                    once(self, request, *args, **kwargs)
                    if not (again and _is_claimed(self, request.group)):
                        return
            except Exception as error:
                if not self.exception_safe_to_retry(error):
                    raise
                logger.warning("task %s cannot be counted for its chord yet: %s", request.id, error)
                again = failed = True
                pause = PAUSE
            finally:
                _counting.now = False
            time.sleep(pause)

    return on_chord_part_return


def _raise_what_may_pass(resigned: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(resigned)
    def chord_error_from_stack(self: Any, callback: Any, exc: Any = None) -> Any:
        # Celery calls it where it has caught the error.
        if getattr(_counting, "now", False) and (error := sys.exc_info()[1]) and self.exception_safe_to_retry(error):
            raise error
        return resigned(self, callback, exc)

    return chord_error_from_stack


def _bound_claim(_: Any) -> Callable[..., int]:
    def _chord_publish_claim_expires(self: Any, initial_expires: int, callback: Any) -> int:
        return max(initial_expires, CLAIM_SECONDS)

    return _chord_publish_claim_expires


def _restore_size(backend: Any, group: str, size: int) -> bool:
    """Restore the size of a chord after a failed try, which may have lost it.

    Args:
        backend: the result store.
        group: the id of the chord's header.
        size: what was read before the try.

    Returns:
        Whether the task can be counted again. False while a claim is held to a chord without size: the claim of the
        failed try, or of another run of the task, has to end first.
    """
    keys = [backend.get_key_for_group(group, suffix) for suffix in (".s", ".c")]
    kept = getattr(backend, "chord_expires", None) or backend.expires  # Celery before 5.7 has only the second
    return bool(backend.client.eval(RESTORE_SIZE, 2, *keys, size, int(kept or 0)))


def _is_claimed(backend: Any, group: str | None) -> bool:
    """Return whether a claim to the body of a chord is held and its body was not sent."""
    if not group:
        return False
    keys = [backend.get_key_for_group(group, suffix) for suffix in (".c", ".s")]
    claim, size = backend.client.mget(keys)
    return bool(claim and claim not in (DONE, DONE.decode()) and size)
