"""What the message about a program that does not work quotes of its log."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.celery_on_hosts.platform.plugins.module_utils.logs import ends_of

CHAIN = """\
Traceback (most recent call last):
  File "a.py", line 1, in other
RuntimeError: of another request

Traceback (most recent call last):
  File "urls.py", line 5, in resolve
    raise Resolver404
Resolver404: no page

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "view.py", line 7, in page
    return render(postgresql://u:secret@h/db)
           ^^^^^^~~~~~~~~~~~~~~~~~~~~~~~~~^^^^
NoReverseMatch: no view

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "error.py", line 9, in show
    show(
    ~~~~^
ValueError: no entry for ''
"""


def test_the_cause_of_an_exception_is_quoted_where_the_last_lines_lack_it(tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    log.write_text(CHAIN, encoding="utf-8")
    assert ends_of([str(log)], count=2).splitlines() == [
        f"The last lines of {log}:",
        "      show(",
        "  ValueError: no entry for ''",
        "The exceptions that led there:",
        "  Resolver404: no page",
        "  NoReverseMatch: no view",
    ]
    assert "led there" not in ends_of([str(log)], count=20), "all of them are quoted"
    log.write_text("Traceback (most recent call last):\nKeyError: 1\nready\n", encoding="utf-8")
    assert "led there" not in ends_of([str(log)])
    assert "secret" not in ends_of([str(log)])


def test_the_first_errors_are_quoted_before_a_long_crash(tmp_path: Path) -> None:
    log = tmp_path / "rabbit.log"
    crash = [f"1 [error] crasher: line {number}" for number in range(60)]
    log.write_text("\n".join(["0 [info] starting", "1 [error] disk_free_limit.absolute invalid", *crash]))
    said = ends_of([str(log)], count=30, errors=3).splitlines()
    assert said[:3] == [f"The first errors in {log}:", "  1 [error] disk_free_limit.absolute invalid", f"  {crash[0]}"]
    assert said[4] == f"The last lines of {log}:"
    assert len(said) == 4 + 1 + 30
    assert "first errors" not in ends_of([str(log)], count=80, errors=3), "they are among the last lines"
