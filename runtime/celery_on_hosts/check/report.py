"""What the check of an application found."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from typing import Any

from ..weaknesses import Weakness


@dataclass
class Report:
    """The errors and warnings of a check.

    Args:
        app: what ``celery -A`` takes.
        errors: why the application must not go live.
        weaknesses: what weakens the platform's promise.
        routes: for each queue the tasks and settings that send to it.
        tasks: how many tasks the application defines.
        declared: the queues that were declared at the broker.
        names: the names of tasks and of entries of the schedule, which a later release is compared with.
        results: where results are kept, without a password.
        web: what serves the web side, in a few words; empty where the platform has none.
    """

    app: str
    errors: list[str] = field(default_factory=list)
    weaknesses: list[Weakness] = field(default_factory=list)
    routes: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    tasks: int = 0
    declared: list[str] = field(default_factory=list)
    names: dict[str, list[str]] = field(default_factory=dict)
    results: str = ""
    web: str = ""

    def warn(self, name: str, found: str, consequence: str = "", remedy: str = "", *, once: bool = False) -> None:
        """Add a weakness, as ``Weakness`` describes it."""
        self.weaknesses.append(Weakness(name, found, consequence, remedy, once))

    @property
    def warnings(self) -> list[str]:
        """Each weakness as one text."""
        return [str(weakness) for weakness in self.weaknesses]

    @property
    def status(self) -> str:
        """``ok``, ``warning`` or ``error``."""
        return "error" if self.errors else "warning" if self.weaknesses else "ok"

    def summary(self) -> dict[str, Any]:
        """Return what the deployment keeps of a release."""
        return {"weaknesses": [asdict(weakness) for weakness in self.weaknesses], "names": self.names}

    def as_json(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        return {
            "status": self.status,
            "app": self.app,
            "tasks": self.tasks,
            "queues": {queue: sorted(users) for queue, users in sorted(self.routes.items())},
            "errors": self.errors,
            "warnings": self.warnings,
            "weaknesses": [asdict(weakness) for weakness in self.weaknesses],
            "declared": self.declared,
            "results": self.results,
            "web": self.web,
        }


def is_builtin(task: str) -> bool:
    """Return whether a task is Celery's or the platform's, not the application's."""
    return task.startswith(("celery.", "celery_on_hosts."))


def first_few(names: Collection[str]) -> str:
    """Name at most three, and say how many more there are."""
    shown = sorted(names)[:3]
    return ", ".join(shown) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
