"""Jinja filter that shows the health of many hosts as one table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

_ORDER = ("unreachable", "unknown", "unhealthy", "degraded", "healthy")
_PROGRAMS = ("process", "web", "flower")
_NOT_THE_RELEASE = ("queues", "database", "flower")
_MARKS = {"ok": "", "warning": " (!)", "error": " (✗)"}


def read_report(host: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """What ``celery-health --json`` said on a host, from the registered result of the command."""
    if result.get("unreachable"):
        problem = {"layer": "host", "name": host, "ok": False, "detail": "unreachable", "severity": "error"}
        return {"host": host, "status": "unreachable", "checks": [problem]}
    try:
        report: dict[str, Any] = json.loads(result.get("stdout") or "")
    except ValueError:
        said = str(result.get("stderr") or result.get("msg") or "no answer").strip().splitlines()
        report = {"status": "unknown", "error": said[-1] if said else "no answer"}
    if report.get("error"):
        problem = {"layer": "health", "name": "check", "ok": False, "detail": report["error"], "severity": "error"}
        report |= {"status": "unknown", "checks": [problem]}
    return report | {"host": host}


def health_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """One line a host, the worst first, and below what is wrong and what to do about it.

    Args:
        results: by host, the registered result of ``celery-health --json``.
    """
    reports = sorted(
        (read_report(host, result) for host, result in results.items()),
        key=lambda report: (_ORDER.index(report["status"]) if report["status"] in _ORDER else 1, report["host"]),
    )
    rows = [("HOST", "STATUS", "RELEASE", "PROGRAMS", "CANARY")]
    for report in reports:
        checks = report.get("checks", [])
        programs = [
            one["name"] + _MARKS[one["severity"]] for one in checks if one["layer"] in ("process", "web", "flower")
        ]
        canary = max((one["seconds"] for one in checks if one["layer"] == "canary" and one["ok"]), default=None)
        seconds = "-" if canary is None else f"{canary * 1000:.0f} ms"
        rows.append(
            (report["host"], report["status"], report.get("release") or "-", " ".join(programs) or "-", seconds)
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, *_problems(reports)])


def _problems(reports: Iterable[Mapping[str, Any]]) -> list[str]:
    lines = []
    for report in reports:
        for check in report.get("checks", []):
            if not check["ok"]:
                mark = "!" if check["severity"] == "warning" else "✗"
                lines.append(f"{mark} {report['host']}: {check['layer']} {check['name']}: {check['detail']}")
                lines += [f"    {check['advice']}"] if check.get("advice") else []
    return ["", *lines] if lines else []


def release_problems(result: Mapping[str, Any]) -> list[str]:
    """What keeps a release from being called good: what is wrong with the application's own programs.

    That Flower, the database or a queue's length is not well is not its doing.

    Args:
        result: the registered result of ``celery-health --json``: nothing, or skipped, where it was not asked. One
            that says no health is a problem too.
    """
    if not result or result.get("skipped"):
        return []
    return [
        f"{check['layer']} {check['name']}: {check['detail']}"
        for check in read_report("", result)["checks"]
        if check["severity"] == "error" and check["layer"] not in _NOT_THE_RELEASE
    ]


def all_healthy(results: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether every host's ``celery-health`` ended well: healthy, or working with something to look at."""
    return all(not result.get("unreachable") and result.get("rc") in (0, 1) for result in results.values())


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Any]:
        """The filters by name."""
        return {"health_table": health_table, "all_healthy": all_healthy, "release_problems": release_problems}
