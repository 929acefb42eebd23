# SPDX-License-Identifier: MIT
"""Check the files that the controller ships to the application's hosts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...module_utils.names import CELERY_ROOT, FLOWER_ROOT, REPORTS, SETTINGS
from .problem import Problem, suggest
from .values import Kind, Variables, is_text, list_of, matches
from .workers import entries

NAME = "celery_files"
ENTRIES = Kind("a list of entries with src and dest", list_of(lambda entry: isinstance(entry, Mapping)))
ACCOUNT = matches(r"[a-z_][a-z0-9_-]{0,31}")
KEYS: dict[str, Kind] = {
    "src": Kind("a file or folder on this machine, relative to the inventory's folder", is_text),
    "dest": Kind(
        "an absolute path on the hosts", lambda value: matches(r"/.+")(value) and ".." not in str(value).split("/")
    ),
    "owner": Kind("the name of an account, such as root or celery", ACCOUNT),
    "group": Kind("the name of a group, such as celery", ACCOUNT),
    "mode": Kind("an octal mode in quotes, such as '0640'", matches(r"0?[0-7]{3}")),
    "state": Kind("file or absent", lambda value: value in ("file", "absent")),
    "read_by": Kind("a list of programs that restart when the file changes", list_of(is_text)),
}
PLATFORMS_OWN = (CELERY_ROOT, FLOWER_ROOT, SETTINGS, REPORTS, "/etc/supervisor", "/etc/flower")


def check_files(variables: Variables, unreadable: Mapping[str, str]) -> Iterator[Problem]:
    """Check ``celery_files``.

    Args:
        variables: a host's variables.
        unreadable: by `src` as the inventory has it, why the file cannot be read on the controller.
    """
    files = variables.get(NAME, [])
    yield from ENTRIES.refuse(NAME, files)
    seen: set[str] = set()
    programs = [*(_program(worker) for worker in entries(variables)), "celerybeat", "web"]
    for entry in files if ENTRIES.fits(files) else []:
        where = f"{NAME}: {entry.get('dest') or entry.get('src')}"
        for key in sorted(set(entry) - set(KEYS), key=str):
            yield Problem(where, f"the key {key}", ", ".join(KEYS), suggest(str(key), KEYS, f"Remove {key}."))
        needed = ["dest"] if entry.get("state") == "absent" else ["src", "dest"]
        yield from (Problem(where, f"no {key}", "src and dest", f"Add {key}.") for key in needed if key not in entry)
        for key, kind in KEYS.items():
            if key in entry:
                yield from kind.refuse(f"{where}: {key}", entry[key])
        if entry.get("src") in unreadable and entry.get("state") != "absent":
            yield Problem(f"{where}: src", f"{entry['src']}: {unreadable[entry['src']]}", KEYS["src"].allowed)
        yield from _check_place(where, str(entry.get("dest")), seen)
        yield from _check_readers(where, entry.get("read_by"), programs)


def _check_place(where: str, dest: str, seen: set[str]) -> Iterator[Problem]:
    owned = next((folder for folder in PLATFORMS_OWN if f"{dest}/".startswith(f"{folder}/")), "")
    if owned:
        advice = "Choose a folder of your own, such as /srv/APPLICATION; or ship the file by celery_app_include."
        yield Problem(f"{where}: dest", f"{dest}, below {owned}", "a path that is not the platform's", advice)
    if dest in seen:
        yield Problem(f"{where}: dest", f"{dest}, twice", "each path once", "Remove one of the two entries.")
    seen.add(dest)


def _check_readers(where: str, readers: Any, programs: Sequence[str]) -> Iterator[Problem]:
    for name in readers if KEYS["read_by"].fits(readers) else []:
        if name not in programs:
            yield Problem(f"{where}: read_by", name, ", ".join(programs), suggest(name, programs))


def _program(worker: Mapping[str, Any]) -> str:
    name = str(worker.get("name"))
    return name if name == "celery" else f"celery-{name}"
