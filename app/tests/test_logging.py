"""What a task writes, and where it can be read."""

import io
import json
import logging
import subprocess
import sys
from pathlib import Path

from live import Live, Local
from unit_settings import BARE

from tasks import logs
from tasks.examples.logging_ import chatter

APP = Path(__file__).resolve().parent.parent


def test_log_lines(live: Live) -> None:
    run = live.run("log_lines", text="what is said")
    assert run["state"] == "SUCCESS"
    if isinstance(live, Local):
        lines = [line for line in (live.folder / "worker.log").read_text().splitlines() if "what is said" in line]
        task_id = run["tasks"][0]["id"]
        assert f"tasks.chatter[{task_id}]: by the task's logger: what is said" in lines[0]
        assert [line.partition("] ")[2] for line in lines[1:]] == [
            "by a library's logger: what is said",
            "printed: what is said",
            "printed to stderr: what is said",
        ]


def test_json_lines_name_the_task() -> None:
    stream, logger = io.StringIO(), logging.getLogger("tasks.examples")
    handler = logging.StreamHandler(stream)
    logger.addHandler(handler)
    level, logger.level = logger.level, logging.INFO
    try:
        logs.write_json(logger)
        ran = chatter.apply(("hello",))
        logger.info("not in a task")
    finally:
        logger.removeHandler(handler)
        logger.level = level
    inside, outside = map(json.loads, stream.getvalue().splitlines())
    assert inside["message"] == "by the task's logger: hello"
    assert (inside["level"], inside["task"], inside["task_id"]) == ("INFO", "tasks.chatter", ran.id)
    assert inside["time"]
    assert "task" not in outside


def test_the_environment_asks_for_json() -> None:
    code = """
import logging, django
django.setup()
logging.getLogger("web").warning("of the web")
from tasks import app
app.log.setup("INFO")
logging.getLogger("any").info("of a worker")
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=APP,
        env={**BARE, "DJANGO_SETTINGS_MODULE": "tasks.settings", "LOG_FORMAT": "json"},
        capture_output=True,
        text=True,
        check=True,
    )
    web, worker = map(json.loads, done.stderr.splitlines())
    assert (web["name"], web["message"]) == ("web", "of the web")
    assert (worker["name"], worker["message"]) == ("any", "of a worker")
