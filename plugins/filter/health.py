"""Jinja filters that summarise the health of many hosts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.table import table

_ORDER = ("unreachable", "unknown", "unhealthy", "degraded", "healthy")
_PROGRAMS = ("process", "web", "flower")
_NOT_THE_RELEASE = ("queues", "database", "flower")
_MARKS = {"ok": "", "warning": " (!)", "error": " (✗)"}


def read_report(host: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the report of ``celery-health --json``, from the registered result of the command on a host."""
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


Results = Mapping[str, Mapping[str, Any]]


def host_reports(results: Results, services: Results) -> list[dict[str, Any]]:
    """Return a report for each host, the worst first.

    Args:
        results: by host of the application, the registered result of ``celery-health --json``.
        services: by host, the registered result of the module ``service_health``.
    """
    reports = [_with_services(host, results.get(host), services.get(host, {})) for host in {**results, **services}]
    return sorted(reports, key=lambda report: (_ORDER.index(report["status"]), report["host"]))


def _with_services(host: str, result: Mapping[str, Any] | None, services: Mapping[str, Any]) -> dict[str, Any]:
    if result is None:  # the host runs no part of the application
        empty = "" if services.get("unreachable") else json.dumps({"status": "healthy", "checks": []})
        result = {"unreachable": services.get("unreachable", False), "stdout": empty}
    report = read_report(host, result)
    if report["status"] not in _ORDER:
        report["status"] = "unknown"
    checks = services.get("checks")
    if checks is None and not services.get("unreachable"):
        said = str(services.get("msg") or "no answer").strip().splitlines()[-1]
        checks = [{"layer": "service", "name": "check", "ok": False, "detail": said, "severity": "error"}]
    checks = list(checks or [])
    if report["status"] in ("healthy", "degraded") and not all(check["ok"] for check in checks):
        report["status"] = "unhealthy"
    return report | {"checks": [*report.get("checks", []), *checks]}


def health_table(results: Results, services: Results) -> str:
    """Return a table with a line for each host, the worst first, and below each problem with its advice.

    Args:
        results: by host of the application, the registered result of ``celery-health --json``.
        services: by host, the registered result of the module ``service_health``.
    """
    reports = host_reports(results, services)
    rows = [("HOST", "STATUS", "RELEASE", "PROGRAMS", "SERVICES", "FRONT DOOR", "CANARY")]
    for report in reports:
        checks = report["checks"]
        programs, here = (
            " ".join(one["name"] + _MARKS[one["severity"]] for one in checks if one["layer"] in layers) or "-"
            for layers in (_PROGRAMS, ("service",))
        )
        canary = max((one["seconds"] for one in checks if one["layer"] == "canary" and one["ok"]), default=None)
        seconds = "-" if canary is None else f"{canary * 1000:.0f} ms"
        door, release = _front_door(checks), report.get("release") or "-"
        rows.append((report["host"], report["status"], release, programs, here, door, seconds))
    return "\n".join([*table(rows), *_problems(reports)])


def _front_door(checks: Iterable[Mapping[str, Any]]) -> str:
    """Return what nginx of a host passes on, each with the mark of the server that is worst off."""
    marks: dict[str, str] = {}
    for check in checks:
        if check["layer"] == "front door":
            name = check["name"].partition(" on ")[0]
            marks[name] = _MARKS[check["severity"]] or marks.get(name, "")
    return " ".join(name + mark for name, mark in marks.items()) or "-"


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
    """Return why a release is not accepted: the failed checks of the application's own programs.

    Problems of Flower, of the database and of queues' lengths are left out, because no release causes them.

    Args:
        result: the registered result of ``celery-health --json``; empty or skipped where health was not checked. An
            output that is no report counts as a problem.
    """
    if not result or result.get("skipped"):
        return []
    return [
        f"{check['layer']} {check['name']}: {check['detail']}"
        for check in read_report("", result)["checks"]
        if check["severity"] == "error" and check["layer"] not in _NOT_THE_RELEASE
    ]


def failing_programs(result: Mapping[str, Any]) -> list[str]:
    """Return the programs that are down or do not answer, and whose logs may say why.

    Args:
        result: the registered result of ``celery-health --json``; empty or skipped where health was not checked.
    """
    if not result or result.get("skipped"):
        return []
    checks = read_report("", result)["checks"]
    found = [check["name"] for check in checks if check["severity"] == "error" and check["layer"] in _PROGRAMS]
    return list(dict.fromkeys(found))


def all_healthy(results: Results, services: Results) -> bool:
    """Return whether every host is healthy or degraded; :func:`host_reports` says what the arguments are."""
    return all(report["status"] in ("healthy", "degraded") for report in host_reports(results, services))


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {
            "all_healthy": all_healthy,
            "failing_programs": failing_programs,
            "health_table": health_table,
            "release_problems": release_problems,
        }
