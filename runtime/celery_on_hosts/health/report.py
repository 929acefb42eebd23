"""What a look at a host's health found: checks, the exit code, a table for people and JSON for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..text import table

HEALTHY, DEGRADED, UNHEALTHY, NO_CHECK = range(4)  # exit codes
STATUS = ("healthy", "degraded", "unhealthy", "unknown")
LAYERS = ("process", "consuming", "canary", "beat", "queues", "database", "web", "flower", "release", "upstream")


@dataclass
class Check:
    """One thing that was looked at.

    Args:
        layer: one of LAYERS.
        name: the program, queue or server.
        ok: whether it is as it should be.
        detail: what was found.
        severity: what a check that is not ok is.
        advice: what to do then.
        seconds: how long the answer took.
    """

    layer: str
    name: str
    ok: bool
    detail: str
    severity: Literal["error", "warning"] = "error"
    advice: str = ""
    seconds: float = 0.0


@dataclass
class Health:
    """All checks of one look at a host."""

    host: str
    release: str | None
    checks: list[Check]

    @property
    def code(self) -> int:
        """The exit code: the worst of the checks."""
        failed = {check.severity for check in self.checks if not check.ok}
        return UNHEALTHY if "error" in failed else DEGRADED if failed else HEALTHY

    def as_json(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        return {
            "status": STATUS[self.code],
            "host": self.host,
            "release": self.release,
            "checks": [
                asdict(check) | {"severity": "ok" if check.ok else check.severity, "seconds": round(check.seconds, 3)}
                for check in self.checks
            ],
        }

    def as_text(self) -> str:
        """Return a table for people, with what to do about each failure."""
        rows = []
        for check in self.checks:
            mark = "✓" if check.ok else "!" if check.severity == "warning" else "✗"
            rows.append((f"{mark} {check.layer}", check.name, check.detail))
            if not check.ok and check.advice:
                rows.append(("", "", f"→ {check.advice}"))
        title = f"{self.host}: {STATUS[self.code]}, release {self.release or 'none'}"
        return "\n".join([title, *(f"  {line}" for line in table(rows))])
