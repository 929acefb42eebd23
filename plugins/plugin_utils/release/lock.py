# SPDX-License-Identifier: MIT
"""Read the application's lock: which packages it lists, and whether each has a version."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.request import ReleaseError
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.requirements import (
    ADDRESS,
    Local,
    Reader,
    own_dependencies,
    read_text,
    replace_path,
    split_lines,
    toml_paths,
)
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

LOCKS = ("requirements.lock", "pylock.toml", "uv.lock", "requirements.txt")
REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?=\s*(?:$|[\[(<>=!~;@#,\\]))")
CONVERSIONS = {
    "poetry.lock": "poetry export -f requirements.txt -o requirements.lock",
    "Pipfile.lock": "pipenv requirements --hash > requirements.lock",
    "pdm.lock": "pdm export -o requirements.lock",
    "pyproject.toml": "uv lock",
}


@dataclass(frozen=True)
class Lock:
    """The application's list of packages: `text` is the whole of it, with included files in place.

    Args:
        path: the file.
        text: its content. Paths of packages on the controller are absolute.
        constraints: the versions that constraints files allow.
        locals: the packages that are on the controller.
    """

    path: Path
    text: str
    constraints: str = ""
    locals: tuple[Local, ...] = ()

    @property
    def form(self) -> str:
        """Return the format: pylock, uv or requirements."""
        return lock_form(self.path)

    @property
    def named(self) -> bool:
        """Return whether each package has its name in the lock, and not its path or address alone."""
        return not self.locals and not any(ADDRESS.match(line) for line in split_lines(self.text))

    @property
    def complete(self) -> bool:
        """Return whether the lock lists every package. One that lists a single package hardly does."""
        if self.form != "requirements":
            return True
        return pinned(self) and self.named and len(requirement_blocks(self.text)) > 1

    def identity(self) -> list[str]:
        """Return what names the packages. It is the same wherever the files are."""
        text, constraints = self.text, self.constraints
        for local in self.locals:
            name = os.path.relpath(local.path, self.path.parent)
            text, constraints = (replace_path(one, local.path, name) for one in (text, constraints))
        return [self.form, text, constraints, *(local.digest() for local in self.locals)]


def lock_form(path: Path) -> str:
    """Return the format of a lock file by its name: pylock, uv or requirements."""
    if re.fullmatch(r"pylock(\.[^.]+)?\.toml", path.name):
        return "pylock"
    return "uv" if path.name == "uv.lock" else "requirements"


def read_lock(path: Path, source: Path | None = None) -> Lock:
    """Read a lock file.

    Args:
        path: the file.
        source: the application's folder; the lock's own folder when left out.

    Raises:
        ReleaseError: it cannot be read, or names what cannot be installed.
    """
    source, form = source or path.parent, lock_form(path)
    if form != "requirements":
        text, found = toml_paths(read_text(path), source, path.parent, form)
        return Lock(path, text, locals=tuple(found))
    reader = Reader(source)
    reader.read(path)
    return from_reader(path, reader)


def from_reader(path: Path, reader: Reader) -> Lock:
    """Return what a reader has read as a lock.

    Args:
        path: the lock file.
        reader: the reader.
    """
    text = "\n".join(reader.lines) + "\n"
    if reader.own_extras is not None and "--hash=" not in text:
        listed = requirement_blocks(text)
        for line in own_dependencies(reader.source, reader.own_extras):
            if not requirement_blocks(line).keys() & listed.keys():
                text += f"{line}\n"
    return Lock(path, text, "".join(f"{line}\n" for line in reader.constraints), tuple(reader.locals))


def find_lock(source: Path, name: str = "") -> Lock:
    """Return the lock of an application's folder.

    Args:
        source: the folder.
        name: the lock, relative to the folder; the first of `LOCKS` that exists when left out.

    Raises:
        ReleaseError: there is none, or it cannot be used.
    """
    if name:
        path = Path(os.path.normpath(source / name))
        if path.name in CONVERSIONS:
            advice = f"Run `{CONVERSIONS[path.name]}` in {path.parent}, and name the lock that it writes."
            raise ReleaseError(f"celery_app_lock is {name}, which uv cannot install.", advice)
        if not path.is_file():
            raise ReleaseError(
                f"celery_app_lock is {name}, and there is no file {path}.",
                f"Name a lock file by its path, relative to {source}.",
            )
        return read_lock(path, source)
    for known in LOCKS:
        if (source / known).is_file():
            return read_lock(source / known)
    raise ReleaseError(f"No lock file in {source}: one of {', '.join(LOCKS)} is needed.", _advise(source))


def _advise(source: Path) -> str:
    """Return what to do where a folder has no lock that is found by its name."""
    for folder in source.parents[:3]:
        if (folder / "uv.lock").is_file():
            return f"{folder} has a uv.lock: set celery_app_lock to {os.path.relpath(folder / 'uv.lock', source)}."
    for name, command in CONVERSIONS.items():
        if (source / name).is_file():
            return f"There is a {name}: run `{command}` in {source}."
    near = [*source.glob("*requirements*.txt"), *source.glob("requirements/*.txt"), *source.glob("pylock.*.toml")]
    if near:
        names = ", ".join(sorted(path.relative_to(source).as_posix() for path in near))
        return f"Set celery_app_lock to one of these: {names}."
    return "Add one: for instance `uv pip freeze > requirements.lock` in the environment that works for you."


def requirement_blocks(text: str) -> dict[str, str]:
    """Return each requirement of a lock by its package's normalised name, hashes and markers included."""
    blocks: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in split_lines(text):
        if current is not None and current[-1].rstrip().endswith("\\"):
            current.append(line)
            continue
        current = None
        match = REQUIREMENT.match(line)
        if match:
            current = blocks.setdefault(canonicalize_name(match[1]), [])
            current.append(line)
    return {name: "\n".join(lines) + "\n" for name, lines in blocks.items()}


def locked_names(lock: Lock) -> set[str]:
    """Return the normalised names of the packages that a lock lists.

    Raises:
        ReleaseError: the lock is not TOML, and should be.
    """
    if lock.form == "requirements":
        return set(requirement_blocks(lock.text))
    try:
        data = tomllib.loads(lock.text)
    except tomllib.TOMLDecodeError as error:
        raise ReleaseError(
            f"{lock.path} is not TOML: {error}.", "Write it again with the tool that made it."
        ) from error
    packages = data.get("packages" if lock.form == "pylock" else "package", [])
    return {canonicalize_name(package["name"]) for package in packages if "name" in package}


def locked_version(lock: Lock, name: str) -> str:
    """Return the newest version of a package that a lock allows, where the lock says so.

    Args:
        lock: the lock.
        name: the package's normalised name.

    Returns:
        `5.2.7` where the lock pins the version (the highest of several, which differ by Python), `<5.3` and the like
        where a requirements file only bounds the version; empty where the lock says neither.
    """
    if lock.form != "requirements":
        data = tomllib.loads(lock.text)
        packages = data.get("packages" if lock.form == "pylock" else "package", [])
        found = [str(one["version"]) for one in packages if canonicalize_name(one["name"]) == name and "version" in one]
        return max(found, key=Version, default="")
    pins: list[str] = []
    for text in _requirement_lines(requirement_blocks(lock.text).get(name, "")):
        try:
            specifier = Requirement(text).specifier
        except InvalidRequirement:
            return ""
        pinned_to = [part.version for part in specifier if part.operator in ("==", "===") and "*" not in part.version]
        if not pinned_to:
            return str(specifier)
        pins += pinned_to
    return max(pins, key=Version, default="")


def pinned(lock: Lock) -> bool:
    """Return whether a lock says the version of each package."""
    if lock.form != "requirements":
        return True
    limits = requirement_blocks(lock.constraints)
    unnamed = (line for line in split_lines(lock.text) if ADDRESS.match(line))
    return all(_fixed(line.split()[0]) for line in unnamed) and all(
        _has_version(block) or _has_version(limits.get(name, name))
        for name, block in requirement_blocks(lock.text).items()
    )


def _has_version(block: str) -> bool:
    """Return whether each line of a requirement names a version or an address."""
    for text in _requirement_lines(block):
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            return False
        if requirement.url:
            if not _fixed(requirement.url):
                return False
        elif not any(part.operator in ("==", "===") for part in requirement.specifier):
            return False
    return True


def _fixed(address: str) -> bool:
    """Return whether an address names one state of a package: a repository's may change without a revision."""
    return not address.startswith("git+") or "@" in address.split("://", 1)[-1].partition("/")[2]


def _requirement_lines(block: str) -> Iterator[str]:
    """Yield each line of a requirement, without comments and hashes."""
    for line in re.sub(r"\\\n", " ", block).splitlines():
        yield re.sub(r"\s(#|--hash|--config-settings|--global-option).*", "", line)
