"""Text for people."""

from __future__ import annotations

import pytest

from celery_on_hosts import text


def test_a_table_is_aligned_and_its_last_column_is_cut():
    rows = [("ID", "ARGUMENTS"), ("abc", "x" * 60)]
    assert text.table(rows) == ["ID   ARGUMENTS", "abc  " + "x" * 60]
    assert text.table(rows, 45) == ["ID   ARGUMENTS", "abc  " + "x" * 39 + "…"]
    assert text.table(rows, 1)[1] == "abc  " + "x" * 19 + "…", "something has to be left"
    assert text.table([]) == []


@pytest.mark.parametrize(
    ("seconds", "words"), [(-1, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (200_000, "2 days")]
)
def test_a_duration(seconds, words):
    assert text.duration(seconds) == words


def test_urls_are_masked():
    assert text.one_line("x amqp://celery:p%40ss@h:5672/v\n y") == "x amqp://celery:**@h:5672/v y"
    assert text.one_line("redis://:secret@h/0") == "redis://:**@h/0"
    assert text.one_line(ValueError()) == "ValueError"
