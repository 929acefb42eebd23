"""A worker waits for a result store that is full or away, and so do chords."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
from celery import Celery
from celery.app.task import Context
from celery.backends.redis import RedisBackend
from conftest import since
from redis import exceptions

from celery_on_hosts import results

OWN_CLAIMS = since("5.7", "a chord's body is claimed by nobody")


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (
            getattr(exceptions, "OutOfMemoryError", exceptions.ResponseError)(
                "OOM command not allowed when used memory > 'maxmemory'."
            ),
            True,
        ),
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


def test_a_success_is_not_overwritten_by_what_came_before_it(server, redis, monkeypatch: pytest.MonkeyPatch):
    results.install()
    app = Celery("tasks", backend=server.url)
    app.conf.result_expires = 60
    backend = app.backend
    backend.store_result("a", None, "STARTED")
    assert (backend.get_state("a"), redis.ttl("celery-task-meta-a")) == ("STARTED", 60)
    looked = backend.get_task_meta("a")
    backend.store_result("a", 2, "SUCCESS")
    monkeypatch.setattr(backend, "_get_task_meta_for", lambda task_id: looked)  # before the other child wrote
    backend.store_result("a", ConnectionError("attempt 1 failed"), "RETRY")
    assert '"status": "SUCCESS"' in redis.get("celery-task-meta-a")
    backend.store_result("b", None, "PROGRESS")
    assert '"status": "PROGRESS"' in redis.get("celery-task-meta-b")


@OWN_CLAIMS
@pytest.mark.parametrize("redelivered", [True, False])
def test_the_body_of_a_chord_is_not_left_to_the_dead(server, redis, redelivered: bool):
    """The process that claimed the chord was killed before it sent the body; the task is delivered again meanwhile."""
    results.install()
    app = Celery("tasks", backend=server.url, broker="memory://", set_as_current=False)
    app.conf.task_publish_retry_policy = {"max_retries": 1_000_000}
    sent = []
    app.amqp._retry_publish = lambda publish, result: sent.append(result)
    backend = app.backend
    backend.set_chord_size("g", 1)
    redis.set(backend.get_key_for_group("g", ".c"), "of the dead", ex=2)
    request = Context(
        id="part", group="g", group_index=0, chord=app.signature("body"), delivery_info={"redelivered": redelivered}
    )
    backend.on_chord_part_return(request, "SUCCESS", 5)
    assert sent == ([[5]] if redelivered else [])
    if redelivered:
        assert redis.get(backend.get_key_for_group("g", ".c")) == "done"
        backend.on_chord_part_return(request, "SUCCESS", 5)
        assert len(sent) == 1


@OWN_CLAIMS
def test_a_chord_survives_that_the_store_is_lost_while_its_body_is_sent(server, redis, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(results, "PAUSE", 0.1)
    monkeypatch.setattr(results, "CLAIM_SECONDS", 2)
    results.install()
    app = Celery("tasks", backend=server.url, broker="memory://", set_as_current=False)
    sent = []
    app.amqp._retry_publish = lambda publish, result: sent.append(result)
    backend = app.backend
    backend.set_chord_size("g", 1)
    lost = [exceptions.ConnectionError("away")]
    extend = backend._chord_claim_extend_script

    def lose(**how):
        if lost:
            redis.expire(backend.get_key_for_group("g", ".c"), 2)  # a claim lasts 6 s, which is longer than a test
            raise lost.pop()
        return extend(**how)

    backend._chord_claim_extend_script = lose
    request = Context(id="part", group="g", group_index=0, chord=app.signature("body"), delivery_info={})
    backend.on_chord_part_return(request, "SUCCESS", 5)
    assert sent == [[5]]
    assert not lost
    assert redis.get(backend.get_key_for_group("g", ".c")) == "done"


@OWN_CLAIMS
@pytest.mark.parametrize("parts", [1, 3])
def test_the_body_of_a_chord_is_sent_once_while_the_broker_is_slow(server, redis, parts: int):
    """The last task of the header is delivered again while its first run publishes the body."""
    results.install()
    app = Celery("tasks", backend=server.url, broker="memory://", set_as_current=False)
    sent, publishing, go_on = [], threading.Event(), threading.Event()

    def publish(publish, result):
        sent.append(result)
        publishing.set()
        go_on.wait(10)

    app.amqp._retry_publish = publish
    backend = app.backend
    backend.set_chord_size("g", parts)

    def count(index: int, redelivered: bool = False) -> None:
        request = Context(
            id=f"part{index}",
            group="g",
            group_index=index,
            chord=app.signature("body"),
            delivery_info={"redelivered": redelivered},
        )
        backend.on_chord_part_return(request, "SUCCESS", index)

    for index in range(parts - 1):
        count(index)
    runs = [threading.Thread(target=count, args=(parts - 1, again), daemon=True) for again in (False, True)]
    runs[0].start()
    assert publishing.wait(10)
    runs[1].start()
    runs[1].join(1.5)  # one round of waiting for the claim, and the next look at it
    assert runs[1].is_alive()
    assert sent == [list(range(parts))]
    go_on.set()
    for run in runs:
        run.join(10)
        assert not run.is_alive()
    assert sent == [list(range(parts))]
    assert redis.get(backend.get_key_for_group("g", ".c")) == "done"


@OWN_CLAIMS
def test_the_size_of_a_chord_is_restored_where_the_store_comes_back_empty(
    server, redis, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(results, "PAUSE", 0.1)
    results.install()
    app = Celery("tasks", backend=server.url, broker="memory://", set_as_current=False)
    sent = []
    app.amqp._retry_publish = lambda publish, result: sent.append(result)
    backend = app.backend
    backend.set_chord_size("g", 1)
    count = backend._chord_part_return_script
    lost = [exceptions.ConnectionError("away")]

    def lose(**how):
        if lost:
            redis.flushall()
            raise lost.pop()
        assert redis.get(backend.get_key_for_group("g", ".s")) == "1"
        assert redis.ttl(backend.get_key_for_group("g", ".s")) > 0
        return count(**how)

    backend._chord_part_return_script = lose
    request = Context(id="part", group="g", group_index=0, chord=app.signature("body"), delivery_info=None)
    backend.on_chord_part_return(request, "SUCCESS", 5)
    assert (sent, lost) == ([[5]], [])


@pytest.mark.parametrize(
    ("size", "claim", "left", "may_count"),
    [
        (None, None, "3", True),
        (None, "somebody's", None, False),
        (None, "done", None, True),
        ("5", None, "5", True),
        ("5", "somebody's", "5", True),
    ],
)
def test_the_size_of_a_chord_is_restored_only_where_nobody_has_a_claim(server, redis, size, claim, left, may_count):
    backend = Celery("tasks", backend=server.url, broker="memory://", set_as_current=False).backend
    keys = {suffix: backend.get_key_for_group("g", suffix) for suffix in (".s", ".c")}
    for suffix, value in ((".s", size), (".c", claim)):
        if value:
            redis.set(keys[suffix], value)
    assert results._restore_size(backend, "g", 3) is may_count
    assert (redis.get(keys[".s"]), redis.get(keys[".c"])) == (left, claim)


def test_a_request_without_delivery_info_is_counted(monkeypatch: pytest.MonkeyPatch):
    """Celery's own tests make such requests."""
    counted = []
    monkeypatch.setattr(RedisBackend, "on_chord_part_return", lambda self, request, *rest: counted.append(request.id))
    monkeypatch.setattr(RedisBackend, "exception_safe_to_retry", lambda self, error: False)  # not changed yet
    results.install()
    RedisBackend.__new__(RedisBackend).on_chord_part_return(SimpleNamespace(id="part", group=None), "SUCCESS", 1)
    assert counted == ["part"]


@pytest.mark.parametrize(("error", "tries"), [(exceptions.ConnectionError("away"), 3), (ValueError("no"), 1)])
def test_a_chord_waits_for_the_store(monkeypatch: pytest.MonkeyPatch, error: Exception, tries: int):
    counted = []

    def count(self, request, *rest):
        counted.append(request.id)
        if len(counted) < 3:
            raise error

    monkeypatch.setattr(RedisBackend, "on_chord_part_return", count)
    monkeypatch.setattr(
        RedisBackend, "exception_safe_to_retry", lambda self, error: isinstance(error, exceptions.ConnectionError)
    )
    monkeypatch.setattr(results, "PAUSE", 0.01)
    results.install()
    backend = RedisBackend.__new__(RedisBackend)
    try:
        backend.on_chord_part_return(SimpleNamespace(id="part", group=None, delivery_info=None), "SUCCESS", 1)
    except ValueError:
        assert tries == 1
    assert counted == ["part"] * tries
