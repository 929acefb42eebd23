"""What the page remembers. The truth about a task is the result backend's; these rows are a convenience."""

import uuid

from django.db import models
from django.utils import timezone


class Submission(models.Model):
    """A task that was submitted by the page or the API and confirmed by the broker."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    task = models.CharField(max_length=200)
    args = models.JSONField(default=list)
    kwargs = models.JSONField(default=dict)
    created = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        ordering = ("-created",)

    def __str__(self) -> str:
        return f"{self.task} {self.id}"


class Tick(models.Model):
    """When beat's periodic task last ran."""

    name = models.CharField(max_length=50, primary_key=True)
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name} {self.at:%Y-%m-%d %H:%M:%S}"
