# SPDX-License-Identifier: MIT
"""Read requirements files as pip does: files that they include, constraints, paths, repositories, any encoding."""

from __future__ import annotations

import codecs
import os
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.archive import digest, digest_entries
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.request import ReleaseError
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.source import read_tree

MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
PROJECT_FILES = ("pyproject.toml", "setup.py", "setup.cfg")
DISTRIBUTIONS = (".whl", ".tar.gz", ".zip", ".tar.bz2", ".tar.xz", ".tgz")
OPTION = re.compile(
    r"(-r|--requirement|-c|--constraint|-e|--editable|-f|--find-links)(?:\s*=\s*|\s+|(?<=^-\w))(?P<value>\S.*)$"
)
NAMED_ADDRESS = re.compile(r"([A-Za-z0-9][\w.-]*\s*(?:\[[^\]]*\])?)\s*@\s*(?P<value>\S+)(?P<rest>.*)$")
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://|[a-z]+\+")
PATH = re.compile(r"(?P<value>[^\s;\[]+)(?P<extras>\[[^\]]*\])?(?P<rest>.*)$")
ENDS_PATH = r"(?=[\s\[;\"]|$)"


@dataclass(frozen=True)
class Local:
    """A package on the controller, or a folder of packages.

    Args:
        path: the wheel, archive or folder.
        project: whether the folder is a project, which has to be built.
    """

    path: Path
    project: bool

    def digest(self) -> str:
        """Return the digest of the content."""
        if self.project:
            return digest_entries(read_tree(self.path, "local").entries)
        files = [self.path] if self.path.is_file() else sorted(self.path.iterdir())
        parts: list[str] = []
        for file in files:
            if file.is_file() and (file.name.endswith(DISTRIBUTIONS) or file == self.path):
                with file.open("rb") as stream:
                    total = sha256()
                    while block := stream.read(1 << 20):
                        total.update(block)
                parts += [file.name, total.hexdigest()]
        return digest(parts)


def replace_path(text: str, old: Path | str, new: Path | str) -> str:
    """Return a lock's text with another path in place of a path."""
    return re.sub(re.escape(str(old)) + ENDS_PATH, lambda _: str(new), text, flags=re.MULTILINE)


def read_text(path: Path) -> str:
    """Read a text file as pip does: by its byte order mark, as UTF-8, or as its first lines declare.

    Raises:
        ReleaseError: a line that counts is not UTF-8.
        OSError: the file cannot be read.
    """
    data = path.read_bytes()
    encoding, start = next(
        ((name, len(mark)) for mark, name in MARKS if data.startswith(mark)), (_declared(data) or "utf-8", 0)
    )
    try:
        text = data[start:].decode(encoding)
    except (UnicodeDecodeError, LookupError):
        text = data.decode("latin-1")
        for number, line in enumerate(split_lines(text), 1):
            if not uncommented(line).isascii():
                raise ReleaseError(
                    f"{path}:{number} is not UTF-8: {line.strip()!r}.",
                    f"Save {path.name} as UTF-8: iconv -f latin1 -t utf-8 {path.name} > new && mv new {path.name}",
                ) from None
    if "\0" in text:
        number = text[: text.index("\0")].count("\n") + 1
        raise ReleaseError(
            f"{path}:{number} is not UTF-8: it looks like UTF-16 without a byte order mark.",
            f"Save {path.name} as UTF-8: iconv -f utf-16le -t utf-8 {path.name} > new && mv new {path.name}",
        )
    return text


def _declared(data: bytes) -> str:
    """Return the encoding that a comment in the first two lines names, empty where none does."""
    for line in data.split(b"\n")[:2]:
        found = re.match(rb"\s*#.*coding[:=]\s*([-\w.]+)", line)
        if found:
            return found[1].decode("ascii", "replace")
    return ""


def split_lines(text: str) -> list[str]:
    """Return a text's lines. str.splitlines would also split at characters that Latin-1 texts may have."""
    return re.split(r"\r\n|\n|\r", text)


def uncommented(line: str) -> str:
    """Return a line without its comment."""
    return re.sub(r"(^|\s)#.*$", "", line).strip()


@dataclass
class Reader:
    """Read a requirements file with the files that it includes, so that one text says all.

    Args:
        source: the application's folder. Paths are relative to the folder, as they are where pip runs in it.
    """

    source: Path
    lines: list[str] = field(default_factory=list)
    constraints: list[str] = field(default_factory=list)
    locals: list[Local] = field(default_factory=list)
    own_extras: list[str] | None = None  # the application's own project is required, with these extras

    def read(self, path: Path, seen: tuple[Path, ...] = (), into: list[str] | None = None) -> None:
        """Read a file.

        Args:
            path: the file.
            seen: the files that include it, the innermost last.
            into: where its lines go.

        Raises:
            ReleaseError: a file cannot be read, or a line names what cannot be installed.
        """
        try:
            text = read_text(path)
        except OSError as error:
            where = f"{seen[-1]} includes it" if seen else "it is the lock"
            raise ReleaseError(f"{path} cannot be read ({where}): {error.strerror}.", "Correct the path.") from error
        self.add(text, path, seen, self.lines if into is None else into)

    def add(self, text: str, path: Path, seen: tuple[Path, ...], into: list[str]) -> None:
        """Read lines of a file; see `read`."""
        for number, line in enumerate(split_lines(text), 1):
            bare = uncommented(line)
            option = OPTION.match(bare)
            value = option["value"].strip("\"'") if option else ""
            where = f"{path}:{number}"
            if not option:
                into += self._requirement(where, path, bare, line)
            elif option[1] in ("-r", "--requirement", "-c", "--constraint"):
                if ADDRESS.match(value) and not value.startswith("file:"):
                    into.append(line)
                    continue
                target = _resolve(path.parent, value)
                if target not in (*seen, path):
                    constrains = option[1] in ("-c", "--constraint")
                    self.read(target, (*seen, path), self.constraints if constrains else into)
            elif option[1] in ("-f", "--find-links"):
                into.append(self._find_links(where, path, value) or line)
            else:
                into += self._requirement(where, path, value, value)

    def _find_links(self, where: str, path: Path, value: str) -> str:
        """Return the line of a folder of packages; empty for an address."""
        if ADDRESS.match(value) and not value.startswith("file:"):
            return ""
        found = [place for base in (path.parent, self.source) if (place := _resolve(base, value)).exists()]
        if not found:
            raise ReleaseError(
                f"{where} looks for packages in {value}, which does not exist.", f"Correct the path ({path.parent})."
            )
        self._note(found[0], project=False)
        return f"--find-links {found[0]}"

    def _requirement(self, where: str, path: Path, bare: str, line: str) -> Iterator[str]:
        """Yield the line of a requirement as uv installs it for another machine."""
        if re.match(r"pkg[-_]resources\s*==\s*0\.0\.0\b", bare):
            raise ReleaseError(
                f"{where}: {bare} is an artefact of Debian's and Ubuntu's `pip freeze`. No index has the package.",
                f"Remove the line {bare}.",
            )
        named = NAMED_ADDRESS.match(bare)
        address = named["value"] if named else bare
        other = re.match(r"(hg|svn|bzr)\+", address)
        if other:
            raise ReleaseError(
                f"{where} installs from a {other[1]} repository ({address}). uv reads git repositories only.",
                "Build a wheel of the package and name the wheel's path instead: pip wheel --no-deps "
                f"-w vendor '{address}'",
            )
        if ADDRESS.match(address) and not address.startswith("file:"):
            egg = re.search(r"#(?:.*&)?egg=([A-Za-z0-9][\w.-]*(?:\[[^\]]*\])?)", address)
            yield f"{egg[1]} @ {_without_egg(address)}" if egg and not named else line
        elif named or _is_path(bare):
            yield from self._local(where, path, bare, named)
        else:
            yield line

    def _local(self, where: str, path: Path, bare: str, named: re.Match[str] | None) -> Iterator[str]:
        """Yield the line of a requirement that is on the controller."""
        parts = named or PATH.match(bare)
        value = parts["value"].split("#")[0] if parts else bare
        extras = "" if named or not parts else parts["extras"] or ""
        bases = (self.source, path.parent)
        target = next((place for base in bases if (place := _resolve(base, value)).exists()), None)
        if target is None:
            raise ReleaseError(
                f"{where} installs from {value}, and there is no such file or folder.",
                f"Correct the path, which is relative to {self.source}.",
            )
        if target == self.source.resolve():
            self.own_extras = [*(self.own_extras or []), *re.findall(r"[\w.-]+", extras)]
            return  # the application itself: its folder goes in as it is
        if target.is_dir() and not any((target / name).is_file() for name in PROJECT_FILES):
            raise ReleaseError(
                f"{where} installs from {value}, which has none of {', '.join(PROJECT_FILES)}.",
                "Name a folder with a Python project, a wheel, or an sdist.",
            )
        self._note(target, project=target.is_dir())
        prefix = f"{named[1]} @ " if named else ""
        yield f"{prefix}{target}{extras}{parts['rest'] if parts else ''}"

    def _note(self, path: Path, project: bool) -> None:
        local = Local(path, project)
        if local not in self.locals:
            self.locals.append(local)


def _is_path(requirement: str) -> bool:
    """Return whether a requirement without a name and @ is a path."""
    parts = PATH.match(requirement)
    value = parts["value"] if parts else ""
    return value.startswith((".", "/", "~", "file:")) or "/" in value or value.endswith(DISTRIBUTIONS)


def _resolve(base: Path, value: str) -> Path:
    """Return the absolute path that a requirements file names."""
    value = re.sub(r"\$\{([A-Z0-9_]+)\}", lambda found: os.environ.get(found[1], found[0]), value)
    if value.startswith("file:"):
        value = unquote(urlsplit(value).path)
    return (base / Path(value).expanduser()).resolve()


def _without_egg(address: str) -> str:
    """Return an address without the name in its fragment."""
    bare, _, fragment = address.partition("#")
    rest = "&".join(part for part in fragment.split("&") if not part.startswith("egg="))
    return f"{bare}#{rest}" if rest else bare


def own_dependencies(source: Path, extras: list[str]) -> list[str]:
    """Return what an application's own project depends on, as far as its pyproject.toml says.

    Args:
        source: the application's folder.
        extras: the extras that are asked for.
    """
    try:
        project: dict[str, Any] = tomllib.loads((source / "pyproject.toml").read_text()).get("project", {})
    except (OSError, ValueError):
        return []
    optional = project.get("optional-dependencies", {})
    return [*project.get("dependencies", []), *(line for extra in extras for line in optional.get(extra, []))]


def toml_paths(text: str, source: Path, folder: Path, form: str) -> tuple[str, list[Local]]:
    """Return a lock with the paths of its packages made absolute, and these packages.

    Args:
        text: uv.lock or pylock.toml.
        source: the application's folder, which is none of these packages.
        folder: the lock's folder.
        form: `uv` or `pylock`.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return text, []  # locked_names says so
    places: list[str] = []
    for package in data.get("package" if form == "uv" else "packages", []):
        origin = package.get("source", {})
        places += [str(origin[key]) for key in ("editable", "directory", "path") if key in origin]
        for key in ("directory", "archive", "sdist", "wheels"):
            found = package.get(key, [])
            places += [str(one["path"]) for one in (found if isinstance(found, list) else [found]) if "path" in one]
    found_locals: list[Local] = []
    for place in dict.fromkeys(places):
        target = (folder / place).resolve()
        if target.exists() and target != source.resolve():
            found_locals.append(Local(target, target.is_dir()))
            if form == "pylock":
                text = re.sub(rf'(?<![\w-])path(\s*=\s*)"{re.escape(place)}"', rf'path\1"{target}"', text)
    return text, found_locals
