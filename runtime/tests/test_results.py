"""What a full Redis refuses is tried again, and nothing else that was not."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from celery.backends.redis import RedisBackend
from redis import exceptions

from celery_on_hosts import results


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), True),
        (exceptions.ExecAbortError("Transaction discarded because of: OOM command not allowed"), True),
        (exceptions.ExecAbortError("Transaction discarded because of previous errors."), False),
        (exceptions.ConnectionError("away"), True),
        (exceptions.ResponseError("WRONGTYPE"), False),
    ],
)
def test_a_full_store_is_waited_for(error: Exception, again: bool):
    results.install()
    results.install()
    backend = SimpleNamespace(connection_errors=(exceptions.ConnectionError,))
    assert RedisBackend.exception_safe_to_retry(backend, error) is again
