"""The Celery application. Where it runs and how safely is the environment's to say; see ``settings.py``."""

import os
from typing import Any

from celery import Celery

from . import logs, timeline  # noqa: F401 - the timeline connects to Celery's signals
from .examples import CHAPTERS
from .ledger import Ledger

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tasks.settings")


class TasksCelery(Celery):
    """Names a task of this package ``tasks.add``, as the guides do, and not ``tasks.tasks.add``."""

    task_cls = "tasks.timeline:Task"

    def gen_task_name(self, name: str, module: str) -> str:
        """Return the name of the task function `name` that is defined in `module`."""
        return super().gen_task_name(name, module.partition(".")[0])


app = TasksCelery("tasks")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
for chapter in CHAPTERS:
    app.autodiscover_tasks(["tasks.examples"], related_name=chapter)

logs.install()


@app.on_after_configure.connect
def sign_messages(sender: Celery, **_: Any) -> None:
    """Sign messages, and take none that are not, if there is a key to do it with."""
    if sender.conf.security_key:
        sender.setup_security(allowed_serializers={"json"})


if path := os.environ.get("TASKS_LEDGER"):
    Ledger(path).connect()
