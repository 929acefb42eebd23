"""Real work: with a broker and a worker, and against servers that are in a bad mood."""

import json
import smtplib
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from celery.exceptions import Retry
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import get_connection
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from live import Live, free_port, until
from pytest_django import Settings
from test_files import picture
from test_outbound import Site, serving

from tasks import app, files, registry, webhooks
from tasks.examples import work
from tasks.models import Delivery, ReportPart, Run, Thumbnail, Upload
from tasks.outbound import Refused, Unreachable

KEY = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # of the standard's own tests


def send(live: Live, content: bytes, content_type: str) -> Any:
    request = urllib.request.Request(f"{live.url}/api/files", content, {"Content-Type": content_type})  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
        return json.load(response)["id"]


def post(client: Client, example: str, **arguments: Any) -> Any:
    return client.post(f"/api/examples/{example}", {"arguments": arguments}, content_type="application/json")


# --- files, with a broker and a worker ------------------------------------------------------------------------------


def test_a_thumbnail_of_what_was_sent(live: Live) -> None:
    found = live.result("small_picture", image=send(live, picture(640, 320), "image/png"), side=64)
    with urllib.request.urlopen(live.url + found["image"], timeout=30) as response:  # noqa: S310
        assert response.headers["Content-Type"] == "image/webp"
        assert len(response.read()) == found["bytes"] < found["of"]


def test_a_damaged_image_fails_and_says_so(live: Live) -> None:
    run = live.run("small_picture", image=send(live, picture(640, 320)[:100], "image/png"))
    assert run["tasks"][-1]["error"]["message"] == "the image cannot be decoded"


def test_a_report_and_its_progress(live: Live) -> None:
    table = "place,amount\n" + "a,1.10\nb,2\n" * 500 + "a,x\na,NaN\nb,1e99\nc,\n"
    arguments = {"table": send(live, table.encode(), "text/csv"), "by": "place", "of": "amount", "parts": 7}
    assert live.result("report_of_a_table", **arguments) == {"skipped": 4, "totals": {"a": "550.00", "b": "1000"}}
    assert live.result("report_of_a_table")["totals"].keys() == {"tea", "coffee", "cocoa"}


def test_too_many_groups(live: Live) -> None:
    table = "place,amount\n" + "".join(f"{n},1\n" for n in range(101))
    run = live.run("report_of_a_table", table=send(live, table.encode(), "text/csv"), by="place", of="amount")
    assert run["tasks"][-1]["error"]["message"] == "place has more than 100 different values"


@pytest.mark.django_db
def test_each_part_tells_how_far_it_is_once(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(work.subtotal, "update_state", lambda **report: told.append(report))
    report, table = str(uuid.uuid4()), str(files.find("csv", "sample").pk)
    parts = [work.subtotal(table, "product", "price", n, 1000, report, 3) for n in (0, 1000, 1000, 2000, 0)]
    assert told == [{"task_id": report, "state": "PROGRESS", "meta": {"current": n, "total": 3}} for n in (1, 2, 3)]
    assert (parts[0], parts[1]) == (parts[4], parts[2])


# --- the web --------------------------------------------------------------------------------------------------------


def test_urls_are_checked(live: Live) -> None:
    site = live.ask("/api/examples/check_a_url")["arguments"]["properties"]["url"]["default"]
    found = live.result("check_a_url", url=f"{site}healthz")
    assert (found["ok"], found["status"], found["redirects"]) == (True, 200, [])
    found = live.result("check_many_urls", urls=[f"{site}healthz", f"{site}nothing", "https://nowhere.invalid/"])
    assert [one.get("status") for one in found] == [200, 404, None]
    assert found[2]["error"] == "nowhere.invalid is not known"


@pytest.mark.parametrize("url", ["http://169.254.169.254/latest/meta-data/", "http://localhost/", "http://[::1]/"])
def test_a_url_into_the_network_is_refused(live: Live, url: str) -> None:
    error = live.run("check_a_url", url=url)["tasks"][-1]["error"]
    assert error["type"] == "Refused"
    assert error["message"].endswith("is not a public address")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("example", "arguments", "words"),
    [
        ("check_a_url", {"url": "file:///etc/passwd"}, "must begin with http"),
        ("check_a_url", {"url": "http://example.org:6379/"}, "port must be 80 or 443"),
        ("check_many_urls", {"urls": ["http://a@b/"]}, "user or a password"),
        ("check_many_urls", {"urls": ["http://example.org/"] * 21}, "at most 20"),
        ("webhook_at_the_end", {"url": "ftp://example.org/"}, "must begin with http"),
        ("send_mail", {"to": "nobody"}, "not an e-mail address"),
        ("send_mail", {"to": "you@example.com\nBcc: me@example.com"}, "not an e-mail address"),
        ("send_mail", {"to": "you@example.org"}, "only to whom EMAIL_RECIPIENTS names"),
        ("send_mail", {"to": "you@sub.example.com"}, "only to whom EMAIL_RECIPIENTS names"),
        ("send_mail", {"to": "you@example.com, me@example.org"}, "not an e-mail address"),
        ("send_mail", {"subject": "a\nBcc: me@example.org"}, "must be one line"),
        ("send_mail", {"body": "x" * 2001}, "at most 2000"),
    ],
)
def test_bad_arguments_are_refused(client: Client, example: str, arguments: Any, words: str) -> None:
    response = post(client, example, **arguments)
    assert response.status_code == 422
    assert words in response.json()["error"]["message"]
    assert not Run.objects.exists()


# --- webhooks -------------------------------------------------------------------------------------------------------


class Receiver(Site):
    """Takes webhooks, with the statuses that it is told in turn."""

    took: list[tuple[dict[str, str], bytes]]
    statuses: list[int]

    def do_POST(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.took.append((headers, self.rfile.read(int(headers["content-length"]))))
        self.answer(self.statuses.pop(0) if self.statuses else 204, location="/elsewhere")


@pytest.fixture
def receiver(settings: Settings) -> Iterator[tuple[str, type[Receiver]]]:
    handler = type("Handler", (Receiver,), {"asked": [], "took": [], "statuses": []})
    settings.WEBHOOK_SECRET = f"whsec_{KEY}"
    with serving(handler=handler) as server:
        settings.URL_CHECK_ALLOW = [f"127.0.0.1:{server.server_port}"]
        yield f"http://127.0.0.1:{server.server_port}/hook", handler


def test_the_signature_is_that_of_the_standard(settings: Settings) -> None:
    settings.WEBHOOK_SECRET = f"whsec_{KEY}"
    found = webhooks.signature("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}')
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="  # of the standard's own tests


def test_a_webhook_is_signed_and_says_which_task_it_is(receiver: Any) -> None:
    url, took = receiver[0], receiver[1].took
    assert work.webhook.apply(kwargs={"url": url, "state": "SUCCESS"}, task_id="the-key").get() == 204
    headers, body = took[0]
    assert json.loads(body) == {"type": "task.success", "data": {"id": None}}
    assert headers["webhook-id"] == "the-key"
    assert webhooks.is_genuine(headers, body)


@pytest.mark.parametrize("secret", ["whsec_", "whsec_c2hvcnQ=", "no base64 at all, but long enough"])
def test_a_secret_that_is_none(settings: Settings, secret: str) -> None:
    settings.WEBHOOK_SECRET = secret
    with pytest.raises(ImproperlyConfigured, match="at least 24 bytes"):
        webhooks.headers("the-key", b"")


def hook(client: Client, body: bytes, headers: dict[str, str]) -> int:
    return int(client.post("/api/webhooks", body, content_type="application/json", headers=headers).status_code)


def test_the_receiver_takes_what_is_genuine_and_fresh(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    body = b'{"type": "task.success"}'
    headers = webhooks.headers("the-key", body)
    mine = headers["webhook-signature"]
    assert hook(client, body, headers) == 204
    assert hook(client, body, {**headers, "webhook-signature": f"v1,bm8= {mine}"}) == 204
    assert hook(client, body, {}) == 401
    assert hook(client, body + b" ", headers) == 401
    for name, wrong in (
        ("webhook-id", "other"),
        ("webhook-timestamp", str(int(headers["webhook-timestamp"]) - 1)),
        ("webhook-timestamp", "²"),
        ("webhook-timestamp", "9" * 5000),
        ("webhook-signature", mine[:-1]),
        ("webhook-signature", "ü"),
    ):
        assert hook(client, body, {**headers, name: wrong}) == 401
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + webhooks.FRESH + 2)
    assert hook(client, body, headers) == 401


def test_a_webhook_on_the_page(live: Live) -> None:
    url = live.start("webhook_at_the_end")

    def answered(found: Any) -> bool:
        return any(one["task"] == "tasks.webhook" and one["kind"] == "succeeded" for one in found["events"])

    live.reaches(f"{url}/events", answered)


def test_a_webhook_is_sent_again_under_its_id_until_it_is_taken(receiver: Any) -> None:
    url, handler = receiver
    handler.statuses += [500, 302, 404]  # a redirect is no answer
    result = work.webhook.apply(kwargs={"url": url, "state": "SUCCESS"}, task_id="the-key")
    assert result.get() == 204
    assert [headers["webhook-id"] for headers, _ in handler.took] == ["the-key"] * 4
    assert handler.asked == []


def test_a_webhook_gives_up(receiver: Any) -> None:
    url, handler = receiver
    handler.statuses += [500] * 99
    with pytest.raises(Unreachable, match="answered 500"):
        work.webhook.apply(kwargs={"url": url, "state": "SUCCESS"}).get()
    assert len(handler.took) == 11


def test_a_webhook_is_no_way_in(receiver: Any, settings: Settings) -> None:
    settings.URL_CHECK_ALLOW = []
    for url in ("http://127.0.0.1/", "http://169.254.169.254/"):
        with pytest.raises(Refused):
            work.webhook.apply(kwargs={"url": url, "state": "SUCCESS"}).get()
    assert receiver[1].took == []


@pytest.mark.parametrize(("x", "told"), [(2, "task.success"), ("a", "task.failure")])
def test_it_is_sent_when_the_task_has_ended(worker: None, receiver: Any, x: Any, told: str) -> None:
    url, handler = receiver
    succeeded, failed = (work.webhook.si(url=url, state=state) for state in ("SUCCESS", "FAILURE"))
    result = app.tasks["tasks.add"].apply_async((x, 3), link=succeeded, link_error=failed)
    until(lambda: handler.took, "the webhook")
    assert json.loads(handler.took[0][1]) == {"type": told, "data": {"id": result.id}}


# --- mail -----------------------------------------------------------------------------------------------------------


class Mailbox:
    """A mail server that takes what it gets, after answers that it is told."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.to: list[str] = []
        self.answers: list[str] = []

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if self.answers:
            return self.answers.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.to += envelope.rcpt_tos
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"


@pytest.fixture
def mailbox(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    box = Mailbox()
    controller = Controller(box, hostname="127.0.0.1", port=free_port())
    controller.start()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"  # pytest-django has put another one there
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", controller.port
    assert get_connection().port == controller.port
    yield box
    controller.stop()


MAIL = ("you@example.com", "Grüße", "It works.\n.\nReally.")


@pytest.mark.django_db
def test_a_mail(mailbox: Mailbox) -> None:
    key = str(uuid.uuid4())
    assert work.mail.apply(MAIL, task_id=key).get() == "sent"
    found = mailbox.mails[0]
    assert mailbox.to == ["you@example.com"]
    assert (found["From"], found["Subject"]) == ("tasks@localhost", "Grüße")
    assert found["Message-ID"] == f"<{key}@tasks>"
    assert found.get_content().replace("\r\n", "\n").strip() == "It works.\n.\nReally."


@pytest.mark.django_db
def test_a_mail_is_sent_once(mailbox: Mailbox) -> None:
    key = str(uuid.uuid4())
    assert [work.mail.apply(MAIL, task_id=key).get() for _ in range(2)] == ["sent", "sent before"]
    assert len(mailbox.mails) == 1


@pytest.mark.django_db
def test_a_mail_is_tried_again_if_the_server_says_later(mailbox: Mailbox) -> None:
    mailbox.answers += ["451 greylisted", "421 too busy"]
    assert work.mail.apply(MAIL, task_id=str(uuid.uuid4())).get() == "sent"
    assert len(mailbox.mails) == 1


@pytest.mark.django_db
def test_a_mail_is_not_tried_again_if_it_says_never(mailbox: Mailbox) -> None:
    mailbox.answers += ["550 no such user"]
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        work.mail.apply(MAIL, task_id=str(uuid.uuid4())).get()
    assert not mailbox.mails
    assert not Delivery.objects.exists()


@pytest.mark.django_db
def test_a_mail_waits_for_a_server_that_is_away(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", free_port()
    waits: list[int] = []
    retry: Callable[..., Any] = work.mail.retry

    def note(**options: Any) -> Any:
        waits.append(options["countdown"])
        return retry(**options)

    monkeypatch.setattr(work.mail, "retry", note)
    with pytest.raises((ConnectionRefusedError, Retry)):
        work.mail.apply(MAIL).get()
    assert sorted(waits)[:4] == [1, 2, 4, 8]
    assert max(waits) == 600


def test_mail_on_the_page(live: Live) -> None:
    assert live.result("send_mail") == "sent"


# --- each night -----------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_clean_up_keeps_what_is_of_today() -> None:
    for age in (timedelta(0), timedelta(days=2)):
        created = timezone.now() - age
        Upload.objects.create(kind="csv", name="a", size=1, content=b"a", created=created)
        ReportPart.objects.create(report=uuid.uuid4(), part=0, created=created)
        Delivery.objects.create(pk=uuid.uuid4(), created=created)
    assert [work.clean_up(), work.clean_up()] == [3, 0]
    assert [model.objects.count() for model in (Upload, ReportPart, Delivery)] == [1, 1, 1]


@pytest.mark.django_db
def test_the_clean_up_does_not_load_the_files() -> None:
    upload = files.store("image", "", picture())
    Upload.objects.update(created=timezone.now() - timedelta(days=2))
    Thumbnail.objects.create(upload=upload, side=64, content=b"")
    with CaptureQueriesContext(connection) as queries:
        assert work.clean_up() == 2
    assert not [query["sql"] for query in queries if "content" in query["sql"]]


def test_beat_sends_the_clean_up_at_night() -> None:
    registry.load()
    entry = app.conf.beat_schedule["clean-up"]
    assert entry["task"] == work.clean_up.name
    assert (entry["schedule"].hour, entry["schedule"].minute) == ({3}, {30})
