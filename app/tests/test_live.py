"""The examples of calling, states, options and canvas, with a broker and a worker."""

import time
from typing import Any

import pytest
from live import Live, succeeded


@pytest.fixture(scope="module", autouse=True)
def begun(live: Live) -> dict[str, str]:
    """The addresses of runs that take seconds. They run beside the other tests, and are looked at in the end."""
    slow: dict[str, dict[str, Any]] = {
        "acks_late": {},
        "time_limit": {},
        "soft_time_limit": {},
        "rate_limit": {"calls": 3},
        "retries": {"failures": 6},
        "backoff": {"failures": 1},
        "expires": {"starts_in": 2, "expires_in": 1},
        "revoked": {"seconds": 2},
        "immutable": {"x": 4},
        "signature": {},
    }
    return {name: live.start(name, **arguments) for name, arguments in slow.items()}


def ended(live: Live, url: str) -> Any:
    """A run at its end."""
    return live.reaches(url, lambda run: run["ready"])


def last(run: Any) -> Any:
    """The task that a run's call gave the result of."""
    return run["tasks"][-1]


# --- calling ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["delay", "apply_async", "direct", "apply", "send_task", "queue", "priority", "serializer", "retry_policy"]
)
def test_a_sum(live: Live, name: str) -> None:
    assert live.result(name, x=4) == 7


@pytest.mark.parametrize("name", ["countdown", "eta"])
def test_it_starts_later(live: Live, name: str) -> None:
    begun = time.monotonic()
    assert live.result(name, seconds=1) == 5
    assert time.monotonic() - begun >= 0.9


def test_expires(live: Live, begun: dict[str, str]) -> None:
    assert ended(live, begun["expires"])["state"] == "REVOKED"


@pytest.mark.parametrize("serializer", ["json", "msgpack", "yaml"])
def test_serializers(live: Live, serializer: str) -> None:
    assert live.result("serializer", serializer=serializer) == 5


def test_pickle_cannot_be_asked_for(live: Live) -> None:
    answer = live.ask("/api/examples/serializer", {"arguments": {"serializer": "pickle"}})
    assert answer["error"]["code"] == "bad_arguments"


@pytest.mark.parametrize("compression", ["zlib", "bzip2"])
def test_compression(live: Live, compression: str) -> None:
    assert live.result("compression", text="abc" * 50, compression=compression) == 150


def test_link(live: Live) -> None:
    run = live.reaches(live.start("link"), lambda run: len(run["tasks"]) == 2 and all(t["ready"] for t in run["tasks"]))
    assert [(task["task"], task["result"]) for task in run["tasks"]] == [("tasks.add", 5), ("tasks.mul", 50)]


def test_link_error(live: Live) -> None:
    assert live.run("link_error", message="because")["tasks"][0]["error"]["message"] == "because"


@pytest.mark.parametrize("name", ["ignore_result", "hidden_argument"])
def test_nothing_is_stored(live: Live, name: str) -> None:
    url = live.start(name)
    live.result("delay")
    run = live.ask(url)
    assert (run["state"], run["result"], last(run)["args"]) == ("PENDING", None, None)


def test_a_secret_is_not_shown(live: Live) -> None:
    url = live.start("hidden_argument", password="open sesame")  # noqa: S106
    live.result("delay")
    (task,) = live.ask(url)["tasks"]
    received = live.reaches(f"{url}/events", lambda answer: "received" in str(answer))["events"]
    assert "open sesame" not in str([task, received])
    assert "***" in str(received)


def test_arguments_are_checked_by_the_caller_or_the_worker(live: Live) -> None:
    run = live.run("wrong_arguments")
    assert (run["tasks"], run["error"].split(":")[0]) == ([], "TypeError")
    assert last(live.run("unchecked_arguments"))["error"]["type"] == "TypeError"


# --- states -------------------------------------------------------------------------------------------------------


def test_pending(live: Live) -> None:
    assert live.ask(live.start("pending"))["state"] == "PENDING"


def test_started_and_success(live: Live) -> None:
    url = live.start("started", seconds=2)
    live.reaches(url, lambda run: run["state"] == "STARTED")
    assert ended(live, url)["result"] == 2
    assert live.run("success")["state"] == "SUCCESS"


def test_failure(live: Live) -> None:
    run = live.run("failure", message="because")
    assert (run["state"], last(run)["error"]) == ("FAILURE", {"type": "RuntimeError", "message": "because"})


def test_retry(live: Live) -> None:
    url = live.start("retry")
    run = live.reaches(url, lambda run: run["state"] == "RETRY")
    assert last(run)["error"]["message"] == "attempt 1 failed"
    assert ended(live, url)["result"] == 2


def test_revoked(live: Live, begun: dict[str, str]) -> None:
    assert ended(live, begun["revoked"])["state"] == "REVOKED"


def test_terminated(live: Live) -> None:
    run = live.run("terminated")
    assert (run["state"], last(run)["error"]["message"]) == ("REVOKED", "terminated")


@pytest.mark.parametrize("of", ["runs", "tasks"])
def test_the_api_revokes_what_runs(live: Live, of: str) -> None:
    if of == "runs":
        url = live.start("progress", seconds=50)
    else:
        url = live.ask("/api/tasks", {"task": "count", "args": [50]})["url"]
    live.reaches(url, lambda found: found["state"] == "PROGRESS")
    assert live.ask(f"{url}/revoke", {"terminate": True})["url"] == url
    live.reaches(url, lambda found: found["state"] == "REVOKED")


def test_progress(live: Live) -> None:
    url = live.start("progress", seconds=2)
    run = live.reaches(url, lambda run: run["state"] == "PROGRESS" and last(run)["progress"]["current"])
    assert last(run)["progress"] == {"current": 1, "total": 2, "percent": 50}
    assert ended(live, url)["result"] == 2


def test_own_state(live: Live) -> None:
    run = live.reaches(live.start("own_state", reason="rain"), lambda run: run["state"] == "SKIPPED")
    assert last(run)["info"] == {"reason": "rain"}


def test_a_success_is_asked(live: Live) -> None:
    told = live.result("ask_a_success", x=4)
    assert told == {
        **told,
        **{"get": 7, "info": 7, "state": "SUCCESS", "ready": True, "successful": True, "failed": False},
        **{"name": "tasks.add", "args": [4, 3]},
    }


def test_a_failure_is_asked(live: Live) -> None:
    told = live.result("ask_a_failure")
    assert told["get"] == told["info"] == "RuntimeError('as asked')"
    assert (told["state"], told["successful"], told["failed"]) == ("FAILURE", False, True)
    assert "raise RuntimeError(message)" in told["traceback"]
    assert live.run("get_raises", message="because")["error"] == "RuntimeError: because"


def test_children(live: Live) -> None:
    assert live.result("children") == [50]


def test_forget(live: Live) -> None:
    assert live.result("forget") == ["SUCCESS", "PENDING"]


# --- options ------------------------------------------------------------------------------------------------------


def test_bind(live: Live) -> None:
    run = live.run("bind")
    assert run["result"].items() >= {"name": "tasks.who_am_i", "id": last(run)["id"], "queue": "celery"}.items()


@pytest.mark.parametrize(("number", "prime"), [(0, False), (2, True), (97, True), (91, False)])
def test_base(live: Live, number: int, prime: bool) -> None:
    assert live.result("base", number=number) is prime


@pytest.mark.parametrize(
    ("name", "task", "result"), [("explicit_name", "maths.square", 16), ("shared", "tasks.cube", 64)]
)
def test_names(live: Live, name: str, task: str, result: float) -> None:
    run = live.run(name, number=4)
    assert (last(run)["task"], run["result"]) == (task, result)


def test_retries(live: Live, begun: dict[str, str]) -> None:
    live.reaches(f"{begun['backoff']}/events", succeeded)
    run = ended(live, begun["retries"])
    assert (last(run)["error"]["message"], last(run)["retries"]) == ("attempt 4 failed", 3)


def test_throws(live: Live) -> None:
    assert last(live.run("throws"))["error"]["type"] == "KeyError"
    assert live.result("throws", key="Japan") == "Tokyo"


def test_rate_limit(live: Live, begun: dict[str, str]) -> None:
    times = sorted(ended(live, begun["rate_limit"])["result"])
    assert times[-1] - times[0] > 1, "2 s at one a second, less the delay of the first on a busy machine"


def test_time_limits(live: Live, begun: dict[str, str]) -> None:
    assert ended(live, begun["soft_time_limit"])["result"] == "ran out of time, and tidied up"
    assert last(ended(live, begun["time_limit"]))["error"]["type"] == "TimeLimitExceeded"


def test_ignored(live: Live) -> None:
    assert last(live.run("ignored", fails=True))["error"]["message"] == "this is kept"
    url = live.start("ignored", fails=False)
    live.result("delay")
    assert live.ask(url)["state"] == "PENDING"


def test_acks_late(live: Live, begun: dict[str, str]) -> None:
    assert ended(live, begun["acks_late"])["result"] == "ran again, and was not lost"


def test_pydantic(live: Live) -> None:
    assert live.result("pydantic_arguments", quantity=4) == {"text": "4 of tea", "total": 10}
    error = last(live.run("pydantic_arguments", quantity=-1))["error"]
    assert "ValidationError" in error["message"]


def test_custom_request(live: Live) -> None:
    url = live.start("custom_request", calls=3)
    run = live.reaches(url, lambda run: last(run)["state"] == "RECEIVED")
    assert last(run)["info"].keys() == {"worker"}
    assert ended(live, url)["result"] == ["done"] * 3


# --- canvas -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments", "result"),
    [
        ("partial", {"x": 4, "y": 3}, 11),
        ("group_of_adds", {"numbers": [1, 2]}, [2, 4]),
        ("chain_of_tasks", {"x": 4}, 71),
        ("pipe", {"x": 4}, 71),
        ("chord_of_adds", {"numbers": [1, 2]}, 6),
        ("group_then_task", {"numbers": [1, 2]}, 30),
        ("map_of_sums", {"first": [1, 2], "second": [3]}, [3, 3]),
        ("starmap_of_adds", {"numbers": [1, 2]}, [2, 4]),
        ("chunks_of_adds", {"numbers": [1, 2, 3], "size": 2}, [[2, 4], [6]]),
        ("nested", {"x": 2, "y": 3}, 10 + 16 + 105),
    ],
)
def test_canvas(live: Live, name: str, arguments: dict[str, Any], result: Any) -> None:
    assert live.result(name, **arguments) == result


def test_signatures_that_take_a_second(live: Live, begun: dict[str, str]) -> None:
    assert ended(live, begun["signature"])["result"] == 5
    assert ended(live, begun["immutable"])["result"] == 7


def test_a_run_knows_all_of_its_tasks(live: Live) -> None:
    run = live.run("nested")
    names = [task["task"].removeprefix("tasks.") for task in run["tasks"]]
    assert sorted(names) == ["add", "add", "add", "mul", "mul", "xsum"]


def test_errors_in_a_canvas(live: Live) -> None:
    run = live.run("chain_that_fails", message="because")
    assert (run["state"], last(run)["error"]["message"]) == ("FAILURE", "because")
    url = live.start("chord_that_fails", message="because")
    run = live.reaches(url, lambda run: [task["ready"] for task in run["tasks"]] == [True] * 4)
    assert [task["state"] for task in run["tasks"]] == ["SUCCESS", "FAILURE", "FAILURE", "SUCCESS"]
    assert run["tasks"][2]["error"]["type"] == "ChordError"
    assert run["tasks"][3]["result"].startswith("ChordError(")
