"""The pages as a person sees them, in a browser, with a broker and a worker."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from live import APP, Live, Local
from playwright.sync_api import Browser, Page, expect, sync_playwright
from test_files import picture

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
SECONDS = 30_000  # ms to wait for what a worker does
PASSWORD = "correct horse battery staple"  # noqa: S105 - of a test
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}

expect.set_options(timeout=SECONDS)  # on a busy machine a page takes longer than the usual 5 s

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="there is no chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def page(browser: Browser, live: Live) -> Iterator[Page]:
    """A window, in which nothing may come from elsewhere and no error may be in the console."""
    context = browser.new_context(base_url=live.url, viewport=DESK)  # type: ignore[arg-type]
    context.set_default_timeout(SECONDS)
    page = context.new_page()
    wrong: list[str] = []
    page.on("request", lambda request: request.url.startswith((live.url, "data:")) or wrong.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    # Over plain HTTP from another machine a browser has no use for Django's Cross-Origin-Opener-Policy, and says so.
    usual = ("status of", "The Cross-Origin-Opener-Policy header has been ignored")
    page.on(
        "console",
        lambda said: said.type == "error" and not any(one in said.text for one in usual) and wrong.append(said.text),
    )
    yield page
    context.close()
    assert wrong == []


def run(page: Page, example: str, **values: str) -> None:
    """Run an example by its form."""
    page.goto(f"/examples/{example}")
    for name, value in values.items():
        page.fill(f"input[name={name}]", value)
    page.click(".ask button")
    page.wait_for_url(re.compile("/runs/"))


def reaches(page: Page, state: str) -> None:
    expect(page.locator("#run .state.big")).to_have_text(state, timeout=SECONDS)


def is_over(page: Page) -> None:
    """The page no longer asks for anything."""
    expect(page.locator("#run:not([hx-get])")).to_be_visible(timeout=SECONDS)


def test_a_newcomer_runs_a_chord_and_sees_what_happens(page: Page) -> None:
    page.goto("/")
    page.click("text=Canvas")
    page.click("a[href='/examples/chord_of_adds']")
    expect(page.locator(".source .code").first).to_contain_text("def chord_of_adds")
    page.fill("input[name=numbers]", "1, 2")
    page.click("text=Run")
    reaches(page, "SUCCESS")
    is_over(page)
    expect(page.locator(".node[data-state=SUCCESS]")).to_have_count(3)
    expect(page.locator(".edge[data-kind=chord]")).to_have_count(2)
    expect(page.locator(".outcome")).to_contain_text("→ 6")
    for kind in ("sent", "received", "started", "succeeded"):
        expect(page.locator(f".events [data-kind={kind}]")).to_have_count(3)
    expect(page.locator(".lanes rect.running")).to_have_count(3)
    expect(page.locator(".log")).to_contain_text("tasks.xsum")
    expect(page.locator(".stores")).to_contain_text("celery")
    page.click("text=Examples >> nth=0")
    expect(page.locator("#recent li").first).to_contain_text("chord_of_adds")


def test_progress_moves_and_what_is_open_stays_open(page: Page) -> None:
    run(page, "progress", seconds="40")
    reaches(page, "PROGRESS")
    page.locator("details[id^=message-] summary").click()
    first = page.locator("progress").get_attribute("value") or ""
    expect(page.locator("progress")).not_to_have_attribute("value", first, timeout=SECONDS)
    expect(page.locator("details[id^=message-] .headers")).to_be_visible()
    page.click("text=Revoke")
    reaches(page, "REVOKED")


def test_retries_are_seen(page: Page) -> None:
    run(page, "retry", failures="1")
    expect(page.locator(".events [data-kind=retry]")).to_have_count(1, timeout=SECONDS)
    reaches(page, "SUCCESS")
    expect(page.locator(".events [data-kind=started]")).to_have_count(2)


def test_a_failure_shows_its_traceback(page: Page) -> None:
    run(page, "failure", message="<b>bad</b>")
    reaches(page, "FAILURE")
    expect(page.locator(".outcome.bad")).to_contain_text("RuntimeError: <b>bad</b>")
    page.click("text=Traceback")
    expect(page.locator("details[id^=trace-] pre")).to_contain_text("raise RuntimeError")


def test_revoke_and_retry_are_buttons(page: Page) -> None:
    run(page, "progress", seconds="50")
    reaches(page, "PROGRESS")
    first = page.url
    page.click("text=Revoke")
    reaches(page, "REVOKED")
    is_over(page)
    expect(page.locator(".events [data-kind=revoked]")).to_contain_text("terminated")
    page.click("#run button:text('Retry')")
    page.wait_for_url(lambda url: "/runs/" in url and url != first)
    reaches(page, "PROGRESS")
    page.click("text=Revoke")
    reaches(page, "REVOKED")


def test_each_part_of_a_chain_has_its_state(page: Page) -> None:
    run(page, "chain_that_fails")
    reaches(page, "FAILURE")
    for state in ("SUCCESS", "FAILURE", "WAITING"):
        expect(page.locator(f".node[data-state={state}]").first).to_be_attached()
    is_over(page)


def test_a_bad_argument_is_a_clear_error(page: Page) -> None:
    page.goto("/examples/delay")
    page.fill("input[name=x]", "many")
    page.click(".ask button")
    expect(page.get_by_role("alert")).to_contain_text("x: input should be a valid number")
    expect(page.locator("input[name=x]")).to_have_value("many")


def test_a_file_is_sent_or_refused(page: Page) -> None:
    page.goto("/examples/report_of_a_table")
    page.set_input_files("input[type=file]", {"name": "a.csv", "mimeType": "text/csv", "buffer": b"a,b\n1,2,3\n"})
    page.click(".ask button")
    expect(page.get_by_role("alert")).to_contain_text("line 2 must have 2 columns, not 3")
    page.set_input_files("input[type=file]", {"name": "a.csv", "mimeType": "text/csv", "buffer": b"k,v\nx,2\nx,3\n"})
    page.fill("input[name=by]", "k")
    page.fill("input[name=of]", "v")
    page.click(".ask button")
    reaches(page, "SUCCESS")
    expect(page.locator(".outcome").first).to_contain_text("'x': '5'")


def test_a_picture_is_made_small_and_shown(page: Page) -> None:
    page.goto("/examples/small_picture")
    page.set_input_files("input[type=file]", {"name": "a.png", "mimeType": "image/png", "buffer": picture(640, 320)})
    page.fill("input[name=side]", "64")
    page.click(".ask button")
    reaches(page, "SUCCESS")
    expect(page.locator(".picture")).to_have_js_property("naturalWidth", 64)


@pytest.mark.parametrize("path", ["/", "/examples/nested", "/examples/small_picture"])
def test_a_phone_shows_all_of_it(page: Page, path: str) -> None:
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    page.goto(path)
    if path != "/":
        page.click(".ask button")
        page.wait_for_url(re.compile("/runs/"))
        reaches(page, "SUCCESS")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_a_page_that_nobody_looks_at_asks_for_nothing(page: Page) -> None:
    asked: list[str] = []
    page.add_init_script("Object.defineProperty(document, 'hidden', {get: () => window.away === true})")
    run(page, "countdown", seconds="20")
    expect(page.locator("#run[hx-get]")).to_be_visible()
    with page.expect_request(lambda request: "/live?" in request.url):
        pass
    page.evaluate("window.away = true")
    page.wait_for_timeout(500)
    page.on("request", lambda request: "/live?" in request.url and asked.append(request.url))
    page.wait_for_timeout(3000)
    assert asked == []


@pytest.fixture
def admin(live: Live) -> Iterator[tuple[str, str]]:
    """Who may edit the schedule, with beat to go by it; of a deployed app, `TASKS_ADMIN` says it: `name:password`."""
    if not isinstance(live, Local):
        if "TASKS_ADMIN" not in os.environ:
            pytest.skip("TASKS_ADMIN does not say who may edit the schedule")
        name, _, password = os.environ["TASKS_ADMIN"].partition(":")
        yield name, password
        return
    command = [sys.executable, "manage.py", "createsuperuser", "--noinput", "--username=ann", "--email=ann@example.com"]
    subprocess.run(command, cwd=APP, env={**live.environment, "DJANGO_SUPERUSER_PASSWORD": PASSWORD}, check=True)
    beat = live.spawn("beat", sys.executable, "-m", "celery", "-A", "tasks", "beat", "-l", "INFO")
    yield "ann", PASSWORD
    os.killpg(beat.pid, signal.SIGTERM)


def test_a_beat_entry_is_edited_in_the_admin_and_fires(page: Page, admin: tuple[str, str]) -> None:
    name = f"edited {uuid4().hex[:8]}"
    run(page, "each_few_seconds", seconds="2")
    page.click("text=Edit its schedule")
    page.fill("input[name=username]", admin[0])
    page.fill("input[name=password]", admin[1])
    page.click("input[type=submit]")
    page.click("#result_list a:text-is('interval')")
    page.click("details:has([name=args]) > summary")
    page.fill("[name=args]", f'["{name}"]')
    page.click("input[name=_save]")
    page.goto("/examples/each_few_seconds")
    expect(page.locator("#ticks")).to_contain_text(name, timeout=SECONDS)


def test_without_scripts_the_page_loads_itself_again(browser: Browser, live: Live) -> None:
    context: Any = browser.new_context(base_url=live.url, java_script_enabled=False)
    context.set_default_timeout(SECONDS)
    page = context.new_page()
    run(page, "delay")
    reaches(page, "SUCCESS")
    context.close()
