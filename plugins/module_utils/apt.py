# SPDX-License-Identifier: MIT
"""Run apt-get, in words that can be read and sent whatever the host's locale is."""

from __future__ import annotations

import fnmatch
import os
import re
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

# Programs that packages run may speak the host's language in an encoding of their own: those bytes are replaced.
ENVIRONMENT = {"LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", "DEBIAN_PRIORITY": "critical"}
BUSY = re.compile(r"Could not get lock|Unable to lock|is another process using it")
HOLDER = re.compile(r"held by process (\d+ \([^)]*\))")
NAMED = re.compile(r"(?m)(?:Depends:|[Pp]ackage|^ +)\s*'?([a-z0-9][a-z0-9+.-]+)")  # a package, in what apt says
INTERRUPTED = "dpkg was interrupted"
LOCK_TIMEOUT = 600  # seconds to wait for another apt
PAUSE = 2.0  # seconds between two tries
Done = subprocess.CompletedProcess[str]


def run(*command: str) -> Done:
    """Run a command of apt's or dpkg's, in English. It goes on when this process ends."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        status = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,  # to a file, because a pipe that nobody reads any more would end the command
            stderr=err,
            check=False,
            env=os.environ | ENVIRONMENT,
            start_new_session=True,
        ).returncode
        said = []
        for file in (out, err):
            file.seek(0)
            said.append(file.read().decode("utf-8", "replace"))
    return Done(command, status, *said)


def apt_get(*arguments: str, proxy: str = "", before: Sequence[str] = ()) -> Done:
    """Run apt-get.

    Args:
        arguments: of apt-get.
        proxy: a URL that apt fetches through. It may hold a password, so it is no argument of the process.
        before: a command that runs apt-get.
    """
    if not proxy:
        return run(*before, "apt-get", "-q", *arguments)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".conf") as file:
        file.writelines(f'Acquire::{scheme}::Proxy "{proxy}";\n' for scheme in ("http", "https"))
        file.flush()
        return run(*before, "apt-get", "-q", "-c", file.name, *arguments)


def waiting(seconds: float = LOCK_TIMEOUT) -> tuple[str, str]:
    """Return the options of an apt-get that waits while another apt holds dpkg's lock."""
    return "-o", f"DPkg::Lock::Timeout={seconds:.0f}"


def waited_for(done: Done) -> str:
    """Return whom an apt-get that waits has waited for, empty where nobody was in the way."""
    found = HOLDER.search(done.stdout + done.stderr)
    return f"process {found[1]}, which held apt's lock" if found else ""


def patiently(call: Callable[[], Done], timeout: float) -> tuple[Done, str]:
    """Run apt-get again and again while another apt holds a lock, at most for so many seconds.

    Args:
        call: runs apt-get.
        timeout: seconds.

    Returns:
        What came of it, and who was waited for and how long, empty where nobody was.
    """
    began, holder = time.monotonic(), ""
    while True:
        tried = time.monotonic()
        done = call()
        if done.returncode == 0 or not BUSY.search(done.stderr):
            break
        found = HOLDER.search(done.stderr)
        holder = f"process {found[1]}" if found else holder or "another apt"
        if time.monotonic() - began > timeout:
            break
        time.sleep(PAUSE)
    return done, f"{holder}, which held apt's lock, for {tried - began:.0f} s" if holder else ""


def configuration(*names: str) -> dict[str, str]:
    """Return values of apt's configuration, by name."""
    asked = [word for number, name in enumerate(names) for word in (f"V{number}", name)]
    lines = subprocess.run(["apt-config", "shell", *asked], capture_output=True, text=True, check=True).stdout
    values = dict(word.split("=", 1) for word in shlex.split(lines))
    return {name: values.get(f"V{number}", "") for number, name in enumerate(names)}


def held() -> list[str]:
    """Return the packages that an administrator holds."""
    return run("apt-mark", "showhold").stdout.split()


def pins(packages: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Return the name of each package that a file of apt's preferences pins, and the file, line and pin.

    Args:
        packages: those that are asked for.
    """
    names = sorted(packages)
    said = configuration("Dir::Etc::preferences/f", "Dir::Etc::preferencesparts/d")
    parts = Path(said["Dir::Etc::preferencesparts/d"])
    for path in [Path(said["Dir::Etc::preferences/f"]), *sorted(parts.glob("*"))]:
        if not path.is_file() or path.suffix not in ("", ".pref"):
            continue
        for number, fields in _stanzas(path.read_text(encoding="utf-8", errors="replace")):
            patterns = [one.partition(":")[0] for one in fields.get("package", "").split()]
            pin = f"Pin: {fields.get('pin', '')}, Pin-Priority: {fields.get('pin-priority', '')}"
            for name in names:
                if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
                    yield name, f"{path}:{number}: {pin}"


def _stanzas(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Return the fields of each stanza of a file of preferences, with the line of its package."""
    fields: dict[str, str] = {}
    begins = 0
    for number, line in enumerate([*text.splitlines(), ""], 1):
        if line.startswith("#"):
            continue
        name, colon, value = line.partition(":")
        if colon:
            begins = number if name.strip().lower() == "package" else begins
            fields[name.strip().lower()] = value.strip()
        elif not line.strip() and fields:
            yield begins, fields
            fields = {}


def obstacles(packages: Iterable[str], said: str) -> list[str]:
    """Return what an administrator has set up that keeps apt from installing, each with what to do.

    Args:
        packages: those that are asked for.
        said: what apt said, which may name others.
    """
    words = set(NAMED.findall(said)) | set(packages)
    if INTERRUPTED in said:
        folder = Path(configuration("Dir::State::status/f")["Dir::State::status/f"]).parent / "updates"
        return [
            f"An installation was cut off on this host before: {folder} has what dpkg did not finish.\n"
            "What to do: run `dpkg --configure -a` on the host, and deploy again."
        ]
    found = []
    if names := sorted(words.intersection(held())):
        status = configuration("Dir::State::status/f")["Dir::State::status/f"]
        found.append(
            f"An administrator holds {', '.join(names)} ({status} has it).\n"
            f"What to do: if nobody needs that, run `apt-mark unhold {' '.join(names)}` on the host, and deploy again."
        )
    pinned: dict[str, list[str]] = {}
    for name, place in pins(words):
        pinned.setdefault(place, []).append(name)
    for place, about in pinned.items():
        found.append(
            f"{place} is about {', '.join(about)}.\n"
            f"What to do: if it keeps {about[0]} away, correct it (`apt-cache policy {about[0]}` shows what it does), "
            "and deploy again."
        )
    return found
