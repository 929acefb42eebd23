"""What the page remembers, the orders with their outbox, and the files that people send."""

import uuid

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.utils import timezone


class Submission(models.Model):
    """A task that was submitted by the page or the API and confirmed by the broker.

    The truth about a task is the result backend's; these rows are a convenience.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    task = models.CharField(max_length=200)
    args = models.JSONField(default=list)
    kwargs = models.JSONField(default=dict)
    created = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        ordering = ("-created",)

    def __str__(self) -> str:
        return f"{self.task} {self.id}"


class Run(models.Model):
    """An example that was run by the page or the API."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    example = models.CharField(max_length=100)
    arguments = models.JSONField(default=dict)
    # What the call gave: the ids of a result, as its `as_tuple` has them; else a value or an error.
    results = models.JSONField(null=True)
    value = models.JSONField(null=True)
    error = models.TextField(default="")
    created = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        ordering = ("-created",)

    def __str__(self) -> str:
        return f"{self.example} {self.id}"


class Event(models.Model):
    """Something that happened to a task of a run; `timeline.py` writes it."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="events")
    task_id = models.CharField(max_length=255)
    task = models.CharField(max_length=200)
    root_id = models.CharField(max_length=255, blank=True)
    parent_id = models.CharField(max_length=255, blank=True)
    kind = models.CharField(max_length=20)
    time = models.DateTimeField()
    worker = models.CharField(max_length=255, blank=True)
    queue = models.CharField(max_length=255, blank=True)
    detail = models.JSONField(default=dict, encoder=DjangoJSONEncoder)

    class Meta:
        ordering = ("time", "id")

    def __str__(self) -> str:
        return f"{self.task} {self.task_id} {self.kind}"


class Tick(models.Model):
    """When a periodic task last ran."""

    name = models.CharField(max_length=50, primary_key=True)
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name} {self.at:%Y-%m-%d %H:%M:%S}"


class Lock(models.Model):
    """A name that one holder has until it gives it back, or until its time is over; see `locks.py`."""

    name = models.CharField(max_length=100, primary_key=True)
    holder = models.UUIDField(null=True)
    until = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name} until {self.until:%Y-%m-%d %H:%M:%S}"


class Product(models.Model):
    """Something to order, and how much of it was sold: the effect that must happen once for each order."""

    name = models.CharField(max_length=50, primary_key=True)
    sold = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.name}: {self.sold} sold"


class Order(models.Model):
    """An order that was accepted. Its id is that of its task, too."""

    id = models.UUIDField(primary_key=True, editable=False)
    product = models.ForeignKey(Product, on_delete=models.PROTECT)
    quantity = models.PositiveIntegerField()
    placed = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{self.quantity} {self.product_id}"


class Receipt(models.Model):
    """An order is confirmed: the dedupe key of the task that does it, for an order has one receipt or none."""

    order = models.OneToOneField(Order, on_delete=models.CASCADE, primary_key=True)
    at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{self.order_id} {self.at:%Y-%m-%d %H:%M:%S}"


class Outgoing(models.Model):
    """The outbox: a task that the transaction which wrote this row wants to have sent. Its id is the task's."""

    id = models.UUIDField(primary_key=True, editable=False)
    task = models.CharField(max_length=200)
    args = models.JSONField(default=list)
    created = models.DateTimeField(default=timezone.now)
    sent = models.DateTimeField(null=True)

    class Meta:
        indexes = (models.Index(fields=["created"], condition=models.Q(sent=None), name="outgoing_not_sent"),)

    def __str__(self) -> str:
        return f"{self.task} {self.id}"


class Upload(models.Model):
    """A file that somebody sent, checked by `files.py`. In the database, where workers of all hosts find it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=10)
    name = models.CharField(max_length=100)
    size = models.PositiveIntegerField()  # bytes
    content = models.BinaryField()
    created = models.DateTimeField(default=timezone.now, db_index=True)

    def __str__(self) -> str:
        return f"{self.name} {self.id}"


class Thumbnail(models.Model):
    """A small WebP of an upload; a side has one."""

    upload = models.ForeignKey(Upload, on_delete=models.CASCADE)
    side = models.PositiveIntegerField()  # pixels of the longer one, at most
    content = models.BinaryField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=["upload", "side"], name="thumbnail_of_a_side"),)

    def __str__(self) -> str:
        return f"{self.upload_id} {self.side}"


class ReportPart(models.Model):
    """A part of a report that is done. A part that is done twice is one row."""

    report = models.UUIDField()
    part = models.PositiveIntegerField()
    created = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        constraints = (models.UniqueConstraint(fields=["report", "part"], name="report_part_once"),)

    def __str__(self) -> str:
        return f"{self.report} {self.part}"


class Delivery(models.Model):
    """What a task sent to the world outside, noted so that the task does not send it again. Its id is the task's."""

    id = models.UUIDField(primary_key=True, editable=False)
    created = models.DateTimeField(default=timezone.now, db_index=True)

    def __str__(self) -> str:
        return f"{self.id} {self.created:%Y-%m-%d %H:%M:%S}"
