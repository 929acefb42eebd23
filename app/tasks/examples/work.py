"""Tasks that do more than arithmetic: with files, with the web, with mail."""

import json
import math
import smtplib
import time
from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from itertools import islice
from typing import Annotated, Any
from uuid import UUID, uuid4

from celery import Task, chord, group, states
from celery.result import AsyncResult
from celery.utils.log import get_task_logger
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.mail import EmailMessage
from django.core.validators import validate_email
from django.db import InterfaceError, OperationalError
from django.urls import reverse
from django.utils import timezone
from pydantic import AfterValidator, Field

from .. import files, outbound, timeline, webhooks
from ..celery import app
from ..models import Delivery, ReportPart, Thumbnail, Upload
from ..outbound import Refused, Unreachable
from ..registry import BadArguments, Number, Text, example, upload
from ..tasks import KEEP_RECORDS, add

log = get_task_logger(__name__)

Image = Annotated[str, upload("image")]
Side = Annotated[int, Field(ge=64, le=512, multiple_of=64)]  # a size for each number would be many files
Table = Annotated[str, upload("csv")]
Parts = Annotated[int, Field(ge=1, le=50)]


class DatabaseTask(timeline.Task):
    """A task that waits for the database while it is away, for as long as that takes."""

    autoretry_for = (OperationalError, InterfaceError)
    max_retries = None
    retry_backoff = True
    retry_backoff_max = 30  # seconds


# --- an image -----------------------------------------------------------------------------------------------------


@app.task(base=DatabaseTask, throws=(files.BadFile,), soft_time_limit=60)
def thumbnail(image: str, side: int) -> dict[str, Any]:
    """Make a small picture of a large one. The message has the id of the file, not the file."""
    found = files.find("image", image)
    content = files.thumbnail(bytes(found.content), side)
    Thumbnail.objects.update_or_create(upload=found, side=side, defaults={"content": content})
    return {"image": reverse("thumbnail", args=[found.pk, side]), "bytes": len(content), "of": found.size}


@example()
def small_picture(image: Image = files.SAMPLE, side: Side = 256) -> "AsyncResult[dict[str, Any]]":
    """Make a thumbnail of an image that you upload.

    The file is checked when it comes, and kept in the database: a worker on any host finds it there.
    """
    return thumbnail.delay(str(_found("image", image).pk), side)


def _found(kind: str, key: str) -> Upload:
    try:
        return files.find(kind, key)
    except files.BadFile as error:
        raise BadArguments(f"{kind}: {error}") from None


# --- a report -----------------------------------------------------------------------------------------------------


@app.task(bind=True, base=DatabaseTask, throws=(files.BadFile,))
def build_report(self: "Task[Any, Any]", table: str, by: str, of: str, parts: int) -> None:
    """Split the rows of a table among tasks. What merges their results takes this task's place, and its id."""
    rows = files.rows(bytes(files.find("csv", table).content))
    key = next(rows).index(by)
    keys = [row[key] for row in rows]
    if len(set(keys)) > 100:
        raise files.BadFile(f"{by} has more than 100 different values")
    size = math.ceil(len(keys) / parts)
    starts = range(0, len(keys), size)
    chunks = [subtotal.s(table, by, of, start, size, report=self.request.id, parts=len(starts)) for start in starts]
    self.replace(chord(chunks, merge.s()))


@app.task(bind=True, base=DatabaseTask)
def subtotal(
    self: "Task[Any, Any]", table: str, by: str, of: str, start: int, size: int, report: str, parts: int
) -> dict[str, Any]:
    """Sum a column of some rows, for each value of another one, and tell how far the report is."""
    rows = files.rows(bytes(files.find("csv", table).content))
    head = next(rows)
    key, value = head.index(by), head.index(of)
    totals: defaultdict[str, Decimal] = defaultdict(Decimal)
    skipped = 0
    for row in islice(rows, start, start + size):
        if (number := _number(row[value])) is None:
            skipped += 1
        else:
            totals[row[key]] += number
    # A row for each part: one that is done twice is counted once, and does not touch a report that is ready.
    _, first = ReportPart.objects.get_or_create(report=report, part=start)
    if first:
        done = ReportPart.objects.filter(report=report).count()
        self.update_state(task_id=report, state="PROGRESS", meta={"current": done, "total": parts})
    return {"skipped": skipped, "totals": {name: str(total) for name, total in totals.items()}}


@app.task
def merge(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Add what the parts found."""
    totals: defaultdict[str, Decimal] = defaultdict(Decimal)
    for part in parts:
        for name, total in part["totals"].items():
            totals[name] += Decimal(total)
    found = {name: str(total) for name, total in sorted(totals.items())}
    return {"skipped": sum(part["skipped"] for part in parts), "totals": found}


def _number(text: str) -> Decimal | None:
    """Return a number of a size that people use, or None."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number.adjusted()) <= 15 else None


@example()
def report_of_a_table(
    table: Table = files.SAMPLE, by: Text = "product", of: Text = "price", parts: Parts = 10
) -> "AsyncResult[None]":
    """Sum a column of a CSV file by a chord over parts of its rows, with progress.

    Rows whose value is no number are skipped, and counted.
    """
    found = _found("csv", table)
    columns = next(files.rows(bytes(found.content)))
    for column in (by, of):
        if column not in columns:
            raise BadArguments(f"there is no column {column}; there are: {', '.join(columns)}")
    return build_report.delay(str(found.pk), by, of, parts)


# --- the web ------------------------------------------------------------------------------------------------------


def _url(text: str) -> str:
    outbound.split(text)
    return text


Url = Annotated[str, AfterValidator(_url)]
# Out of the box nothing of this deployment may be asked.
SITE = f"http://{settings.URL_CHECK_ALLOW[0]}" if settings.URL_CHECK_ALLOW else "https://example.org"


@app.task(throws=(Refused,))
def check_url(url: str) -> dict[str, Any]:
    """Ask a URL, and tell how it went: a site that is down is what this is to find, no failure."""
    began = time.monotonic()
    try:
        answer, redirects = outbound.follow(url)
    except Unreachable as error:
        return {"url": url, "ok": False, "error": str(error)}
    return {
        "url": answer.url,
        "ok": answer.ok,
        "status": answer.status,
        "seconds": round(time.monotonic() - began, 3),
        "bytes": len(answer.body) if answer.whole else f"more than {outbound.MAX_BODY}",
        "redirects": redirects,
    }


@example()
def check_a_url(url: Url = f"{SITE}/") -> "AsyncResult[dict[str, Any]]":
    """Ask a URL whether it answers.

    It is no way into this network: an address that is not public is refused, also behind a name and a redirect.
    """
    return check_url.delay(url)


@example()
def check_many_urls(
    urls: Annotated[list[Url], Field(min_length=1, max_length=20)] = [f"{SITE}/", f"{SITE}/nothing"],
) -> "AsyncResult[list[dict[str, Any]]]":
    """Ask many URLs at the same time: waiting needs threads or greenlets, not processes."""
    return group(check_url.s(url) for url in urls).apply_async()


# Its arguments have names alone: Celery calls a link_error that takes two by their place at once, in the worker's main
# process, to hand it the exception. This one is sent as a task.
@app.task(
    bind=True,
    autoretry_for=(Unreachable,),
    max_retries=10,
    retry_backoff=True,
    retry_backoff_max=600,
    throws=(Refused,),
)
def webhook(self: "Task[Any, Any]", *, url: str, state: str) -> int:
    """Tell a URL how the task before this one ended. What it is asks the API; so nothing secret leaves.

    Until the receiver takes it, it is sent again, with the same id for the receiver to know it by.
    """
    body = json.dumps({"type": f"task.{state.lower()}", "data": {"id": self.request.parent_id}}).encode()
    headers = {"Content-Type": "application/json", **webhooks.headers(str(self.request.id), body)}
    answer = outbound.ask("POST", url, headers, body)  # a redirect is not followed
    if not answer.ok:
        raise Unreachable(f"{url} answered {answer.status}")
    return answer.status


@example()
def webhook_at_the_end(x: Number = 2, y: Number = 3, url: Url = f"{SITE}/api/webhooks") -> "AsyncResult[float]":
    """Have a URL told when a task has ended, well or not.

    The message is signed with `WEBHOOK_SECRET`. This app has a receiver of its own, /api/webhooks, that checks it.
    """
    succeeded, failed = (webhook.si(url=url, state=state) for state in (states.SUCCESS, states.FAILURE))
    return add.apply_async((x, y), link=succeeded, link_error=failed)


# --- mail ---------------------------------------------------------------------------------------------------------


@app.task(bind=True, max_retries=10)
def mail(self: "Task[Any, Any]", to: str, subject: str, body: str) -> str:
    """Send a mail. Run again it sends none; only if it dies in between, there are two, of one Message-ID."""
    key = UUID(self.request.id) if self.request.id else uuid4()
    message = EmailMessage(subject, body, to=[to], headers={"Message-ID": f"<{key}@tasks>"})
    try:
        return "sent" if once(key, message.send) else "sent before"
    except OSError as error:  # smtplib's are among them
        if _for_good(error):
            raise
        raise self.retry(exc=error, countdown=min(2**self.request.retries, 600)) from error


def once(key: UUID, send: Callable[[], Any]) -> bool:
    """Send what is sent under this key, unless it was. Tell whether it was done now."""
    if Delivery.objects.filter(pk=key).exists():
        return False
    send()
    Delivery.objects.get_or_create(pk=key)
    return True


def _for_good(error: OSError) -> bool:
    """Tell whether a mail server has said that it will not take this mail later on either."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return all(code >= 500 for code, _ in error.recipients.values())
    return isinstance(error, smtplib.SMTPResponseException) and error.smtp_code >= 500


def _recipient(to: str) -> str:
    try:
        validate_email(to)
    except ValidationError:
        raise ValueError("this is not an e-mail address") from None
    known = [entry.lower() for entry in settings.EMAIL_RECIPIENTS]
    if to.lower() not in known and f"@{to.lower().rpartition('@')[2]}" not in known:
        raise ValueError("mail goes only to whom EMAIL_RECIPIENTS names")  # who that is, is nobody's business
    return to


def _line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be one line")
    return text


@example()
def send_mail(
    to: Annotated[Text, AfterValidator(_recipient)] = "you@example.com",
    subject: Annotated[Text, AfterValidator(_line)] = "Hello from Celery",
    body: Annotated[str, Field(max_length=2000)] = "It works.",
) -> "AsyncResult[str]":
    """Send a mail by SMTP, and again later if the server cannot take it now.

    Without `EMAIL_URL` it goes to the worker's log.
    """
    return mail.delay(to, subject, body)


# --- each night ---------------------------------------------------------------------------------------------------


@app.task
def clean_up() -> int:
    """Delete the files that people sent and what else was kept for a day. Beat sends it, each night."""
    old = timezone.now() - KEEP_RECORDS
    # Django looks at what it deletes. It need not load the files for that.
    rows = (model.objects.only("pk").filter(created__lt=old) for model in (Upload, ReportPart, Delivery))
    deleted = sum(old_rows.delete()[0] for old_rows in rows)
    log.info("deleted %d rows", deleted)
    return deleted


@example()
def clean_up_now() -> "AsyncResult[int]":
    """What beat does each night: delete old files."""
    return clean_up.delay()
