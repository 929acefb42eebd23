#!/usr/bin/env -S uv run --script
# /// script
# requires-python = ">=3.11"
# dependencies = ["pillow", "playwright", "pyyaml", "rich"]
# ///
"""Take the pictures of the documentation again, from a lab that `make deploy` created.

Usage: docs/screenshots.py [INVENTORY]     needs Debian's chromium; default: inventories/lab

Submits a few tasks, then takes docs/images/*.png in a browser, and docs/images/*.svg from the output of commands.
"""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs/images"
WINDOW = {"width": 1100, "height": 640}
TASKS: list[dict[str, Any]] = [
    {"task": "xsum", "args": [[1, 2, 3, 4]]},
    {"task": "mul", "args": [6, 7]},
    {"task": "flaky", "args": [1]},
    {"task": "fail", "args": ["as asked"]},
    {"task": "add", "args": [2, 3]},
    {"task": "count", "args": [8]},
]


def save(page: Page, name: str) -> None:
    """Save the visible part of a page as a small picture."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB").quantize(128)
    picture.save(IMAGES / f"{name}.png", optimize=True)


def terminal(name: str, title: str, *commands: list[str], last: int = 40) -> None:
    """Save the output of commands as a picture of a terminal.

    Args:
        name: of the picture.
        title: of the terminal.
        commands: shown as they are typed; each command runs in the clone.
        last: how many lines of each command's output are kept.
    """
    console = Console(record=True, width=124, file=io.StringIO(), force_terminal=True)
    for command in commands:
        run = subprocess.run(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        typed = " ".join(
            f"{name}='{value}'" if " " in value else word
            for word in command
            for name, _, value in [word.partition("=")]
        )
        console.print(Text(f"$ {typed}", style="bold"))
        console.print(Text.from_ansi("\n".join(run.stdout.rstrip().splitlines()[-last:])), soft_wrap=False)
    console.save_svg(str(IMAGES / f"{name}.svg"), title=title)


def shoot(browser: Browser, host: str, secrets: Path) -> None:
    """Take the pictures of the pages."""
    base = f"http://{host}"

    def password(name: str) -> str:
        return (secrets / f"{name}.txt").read_text().strip()

    flower = browser.new_context(
        viewport=WINDOW, http_credentials={"username": "admin", "password": password("flower")}
    ).new_page()
    flower.goto(f"{base}/flower/workers")  # a page of tasks is filled only while Flower listens

    app = browser.new_context(viewport=WINDOW).new_page()
    ids = {task["task"]: app.request.post(f"{base}/api/tasks", data=task).json()["id"] for task in TASKS}
    app.goto(f"{base}/examples/progress")
    app.click(".ask button")
    app.wait_for_selector("#run[hx-get] [data-state=PROGRESS]")
    app.wait_for_timeout(3000)
    save(app, "app-task")
    app.goto(f"{base}/examples/nested")
    app.click(".ask button")
    app.wait_for_selector("#run:not([hx-get]) [data-state=SUCCESS]", timeout=30_000)
    save(app, "app-canvas")
    app.goto(base)
    app.wait_for_timeout(1500)
    save(app, "app")

    for name, path in (("workers", "workers"), ("tasks", "tasks"), ("task", f"task/{ids['add']}")):
        flower.goto(f"{base}/flower/{path}")
        flower.wait_for_timeout(2500)
        save(flower, f"flower-{name}")

    queues = browser.new_context(viewport=WINDOW).new_page()
    queues.goto(f"http://{host}:15672/")
    queues.fill("input[name=username]", "operator")
    queues.fill("input[name=password]", password("rabbitmq_operator"))
    queues.click("input[type=submit]")
    queues.wait_for_selector("#logout")
    queues.goto(f"http://{host}:15672/#/queues")
    queues.wait_for_timeout(3000)
    save(queues, "rabbitmq-queues")


def main(inventory: str = "inventories/lab") -> None:
    """Take all pictures.

    Raises:
        FileNotFoundError: There is no lab; `make deploy` creates the lab.
    """
    folder = ROOT / inventory
    (host,) = [
        entry["ansible_host"]
        for entry in yaml.safe_load((folder / "lab_hosts.yml").read_text())["lab"]["hosts"].values()
    ]
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        shoot(browser, host, folder / "secrets")
    where = [f"INVENTORY={inventory}"] if inventory != "inventories/lab" else []
    terminal("deploy", "make deploy", ["make", "deploy", *where])
    terminal(
        "commands",
        "on the host",
        ["make", "status", *where],
        ["make", "ssh", *where, "CMD=celery-health"],
        ["make", "ssh", *where, "CMD=supervisorctl status"],
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
