"""The examples of calling, states, options and canvas, with a broker and a worker."""

from live import Live


def test_delay(live: Live) -> None:
    assert live.result("delay", x=4) == 7


def test_chord(live: Live) -> None:
    run = live.run("chord_of_adds", numbers=[1, 2])
    assert run["result"] == 6
    assert [task["task"] for task in run["tasks"]] == ["tasks.add", "tasks.add", "tasks.xsum"]
