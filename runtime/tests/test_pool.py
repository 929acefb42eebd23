"""What a child of the pool has in hand is not forgotten when its worker stops."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from billiard.pool import CLOSE
from celery.concurrency.asynpool import AsynPool
from conftest import since

from celery_on_hosts import pool


@since("5.7", "the pool forgets no job that it has not handed to a child")
def test_a_job_that_went_to_a_child_is_kept():
    child = SimpleNamespace(_is_alive=lambda: True, inqW_fd=7)

    def job(name: str, accepted: bool, write_to: Any) -> SimpleNamespace:
        return SimpleNamespace(
            _accepted=accepted,
            _time_accepted=1.0 if accepted else None,
            _write_to=write_to,
            _scheduled_for=write_to,
            discard=lambda: cache.pop(name),
        )

    cache: dict[str, SimpleNamespace] = {}
    cache |= {"runs": job("runs", True, child), "sent": job("sent", False, child), "waits": job("waits", False, None)}
    stopping = SimpleNamespace(
        _cache=cache,
        _state=CLOSE,
        synack=False,
        outbound_buffer=[],
        maintain_pool=lambda: None,
        _active_writers=set(),
        _active_writes=set(),
        _busy_workers={7, 9},
    )
    pool.install()
    pool.install()
    AsynPool.flush(stopping)
    assert sorted(cache) == ["runs", "sent"]
    assert (cache["runs"]._accepted, cache["sent"]._accepted) == (True, False)
    assert stopping._busy_workers == {7}
