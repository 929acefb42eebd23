"""Check the options that tasks set themselves."""

from __future__ import annotations

from celery import Celery

from .report import Report, first_few, is_builtin


def check(app: Celery, report: Report) -> None:
    """Report the tasks that are acknowledged early, those of an option together."""
    for option, setting, dies in (
        ("acks_late", app.conf.task_acks_late, "worker"),
        ("reject_on_worker_lost", app.conf.task_reject_on_worker_lost, "process"),
    ):
        names = [name for name, task in app.tasks.items() if not is_builtin(name) and getattr(task, option) is False]
        if setting and names:
            have = f"task {names[0]} has" if len(names) == 1 else f"tasks {first_few(names)} have"
            lost = f"is lost when its {dies} dies while it runs"
            report.warn(option, f"{have} {option}=False", f"such a task {lost}", f"Remove {option} from the task.")
