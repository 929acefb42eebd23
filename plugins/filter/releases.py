"""Jinja filters that summarise the releases of many hosts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.module_utils.database_extensions import advice
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.table import table

Results = Mapping[str, Mapping[str, Any]]


def releases_table(results: Results) -> str:
    """Return a table with a line for each release of each host: its state, and the programs that run it.

    Args:
        results: by host, the result of the module ``releases``.
    """
    rows = [("HOST", "RELEASE", "BUILT FROM", "WORKED", "IS", "RUN BY")]
    for host, result in sorted(results.items()):
        for one in result.get("releases", []):
            names = {"current": result["current"], "previous": result["previous"]}
            words = [word for word, name in names.items() if name == one["release"]] + (["bad"] if one["bad"] else [])
            running = [program for program, release in result["programs"].items() if release == one["release"]]
            said = (" ".join(words) or "kept", ", ".join(running) or "-")
            rows.append((host, one["release"], one["built_from"] or "-", one["worked"] or "-", *said))
    notes = [
        f"! {host}: its workers are out of service (make undrain HOST={host})"
        for host, result in sorted(results.items())
        if result.get("drained")
    ]
    notes += [
        f"! {host}: {one['release']} is bad: {one['bad']}"
        for host, result in sorted(results.items())
        for one in result.get("releases", [])
        if one["bad"]
    ]
    problems = [f"✗ {problem}" for problem in releases_problems(results)]
    return "\n".join([*table(rows), *([""] if notes or problems else []), *notes, *problems])


def releases_problems(results: Results) -> list[str]:
    """Return why it is not certain that every program of every host runs the same release; empty when it is.

    A worker that was handed over and finishes its tasks is not counted, because it claims no new ones.

    Args:
        results: by host, the result of the module ``releases``.
    """
    return [*_silent(results), *_mixed(results)]


def _silent(results: Results) -> Iterator[str]:
    for host, result in sorted(results.items()):
        if result.get("unreachable"):
            yield f"{host}: unreachable"
        elif "programs" not in result:
            yield f"{host}: {result.get('msg') or 'no answer'}"
        else:
            away = [program for program, release in result["programs"].items() if not release]
            if away:
                yield f"{host}: {', '.join(away)} does not run (`make status` says more)"


def _mixed(results: Results) -> Iterator[str]:
    users: dict[str, list[str]] = {}
    for host, result in sorted(results.items()):
        if result.get("current"):
            users.setdefault(result["current"], []).append(f"current on {host}")
        for program, release in result.get("programs", {}).items():
            if release and not program.endswith(" (leaving)"):
                users.setdefault(release, []).append(f"{program} on {host}")
    if len(users) > 1:
        yield "not one release: " + "; ".join(f"{release}: {', '.join(who)}" for release, who in sorted(users.items()))


def failed_command(loop: Mapping[str, Any], commands: Sequence[str]) -> str:
    """Describe the release command that failed, and list the commands that did not run after it.

    Args:
        loop: the registered result of the loop over the commands, which ends at the first command that fails.
        commands: all commands.

    Returns:
        Lines of text; empty where every command succeeded, or none ran.
    """
    ran = [result for result in loop.get("results", []) if not result.get("skipped")]
    if not ran or ran[-1].get("rc") == 0:
        return ""
    failed = ran[-1]
    output = [*str(failed.get("stdout", "")).splitlines(), *str(failed.get("stderr", "")).splitlines()]
    reason = str(failed.get("msg") or "").replace("non-zero return code", "")
    said = output[-15:] or [reason or "It printed nothing."]
    lines = [f"The release command `{failed['item']}` failed, exit code {failed.get('rc', 'unknown')}:"]
    lines += [f"  {line}" for line in said]
    rest = commands[len(ran) :]
    lines += [f"Not run: {'; '.join(f'`{command}`' for command in rest)}"] if rest else []
    return "\n".join(filter(None, [*lines, advice("\n".join(output))]))


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {
            "releases_table": releases_table,
            "releases_problems": releases_problems,
            "failed_command": failed_command,
        }
