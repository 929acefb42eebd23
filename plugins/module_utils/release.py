# SPDX-License-Identifier: MIT
"""Build a release: an application and its packages as two archives, named by what went into them.

A release has two layers, so that a change of code ships kilobytes:

* ``deps-<deps_id>.tar.gz``: third-party packages, for one Python and one kind of machine.
* ``release-<release_id>.tar.gz``: a small virtual environment with the application, the runtime and a ``release.pth``
  that puts the packages on the path.

Both ids are digests of the inputs, so asking again for what is there costs a hash and no call of uv.
Standard library only: it runs in whatever Python runs Ansible, which need not be the hosts'.
"""

from __future__ import annotations

import ast
import configparser
import contextlib
import difflib
import fcntl
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import warnings as python_warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

BUILDER = "1"  # part of every id: raise it when the layout of an archive changes
LOCKS = ("requirements.lock", "pylock.toml", "uv.lock", "requirements.txt")
PLATFORMS = {"x86_64": "x86_64-manylinux_2_36", "aarch64": "aarch64-manylinux_2_36"}  # glibc of Debian 12
IGNORED = (
    *(".git", ".hg", ".svn", ".venv", "venv", ".env", ".tox", ".nox", "__pycache__", "node_modules", ".mypy_cache"),
    *(".pytest_cache", ".ruff_cache", ".ansible", ".idea", ".vscode", ".DS_Store", "*.pyc", "*.pyo", "*.egg-info"),
    *("*.swp", "celerybeat-schedule*"),
)
NOT_CODE = {"tests", "test", "testdata", "fixtures", "templates"}  # where files named .py may be anything
LARGE = 50 * 1024 * 1024
MTIME = 315532800  # 1980-01-01: fixed, and still a date that zip files can hold
GZIP_LEVEL = 3


class ReleaseError(Exception):
    """A release that cannot be built.

    Args:
        message: what is wrong, with the file or variable.
        advice: what to do about it.
    """

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice


@dataclass(frozen=True)
class Request:
    """What to build. Paths are on the controller, except `install_root`, which is on the hosts.

    `source` is the application's folder, or for kind 'packages' a lock file in the format of requirements.txt.
    """

    source: Path
    output: Path
    kind: str = "app"
    app: str = ""
    python_version: str = "3.13"
    platform: str = "x86_64"
    runtime: Path | None = None
    install_root: str = "/opt/celery"
    uv: str = "uv"
    keep: int = 8


@dataclass
class Result:
    """What was built, or found in the cache (`changed` is False then)."""

    release_id: str
    deps_id: str
    release_archive: Path
    deps_archive: Path
    changed: bool = False
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Entry:
    """One file of an archive, its path relative to the archive's top folder; `link` is a symbolic link's target."""

    path: str
    data: bytes = b""
    executable: bool = False
    link: str | None = None


@dataclass(frozen=True)
class Lock:
    """The application's list of packages: `text` is the whole of it, with included files in place."""

    path: Path
    text: str

    @property
    def form(self) -> str:
        return {"pylock.toml": "pylock", "uv.lock": "uv"}.get(self.path.name, "requirements")


# --- what goes in ----------------------------------------------------------------------------------------------------


def digest(parts: Iterable[bytes | str]) -> str:
    """Return the 12 hex digits that name a list of strings, each counted with its length."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(b"%d:" % len(data))
        total.update(data)
    return total.hexdigest()[:12]


def digest_entries(entries: Iterable[Entry]) -> str:
    """Return the digest of files: paths, kinds, modes and contents."""
    parts: list[bytes | str] = []
    for entry in sorted(entries, key=lambda item: item.path):
        kind = f"l{entry.link}" if entry.link is not None else "x" if entry.executable else "f"
        parts += [entry.path, kind, entry.data]
    return digest(parts)


def normalise(name: str) -> str:
    """Return a package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _ignored(path: str) -> bool:
    return any(fnmatch(part, pattern) for part in PurePosixPath(path).parts for pattern in IGNORED)


def _git_files(source: Path) -> list[str] | None:
    """Return the files git knows or would add, or None where git does not say."""
    try:
        found = subprocess.run(
            ["git", "-C", str(source), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            capture_output=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    names = found.stdout.decode("utf-8", "surrogateescape").split("\0")
    return sorted({name for name in names if name}) or None  # none at all: the folder itself is ignored


def _walked_files(source: Path) -> list[str]:
    names: list[str] = []
    for folder, folders, files in os.walk(source):
        here = Path(folder)
        links = [name for name in folders if (here / name).is_symlink()]
        folders[:] = sorted(name for name in folders if not _ignored(name) and name not in links)
        names += [(here / name).relative_to(source).as_posix() for name in files + links]
    return sorted(names)


def read_tree(source: Path, top: str, git: bool = True) -> list[Entry]:
    """Read the files of a folder that belong to the application.

    Inside a git work tree that is what git does not ignore; elsewhere all but well-known debris.

    Args:
        source: the folder.
        top: the folder of the archive that they go to.
        git: whether to ask git.

    Raises:
        ReleaseError: a link leads out of the folder, or a file cannot be read.
    """
    names = (_git_files(source) if git else None) or _walked_files(source)
    entries = []
    for name in names:
        path = source / name
        if _ignored(name):
            continue
        try:
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                target = str(path.readlink())
                leads_to = os.path.normpath(path.parent.relative_to(source) / target)
                if target.startswith("/") or leads_to.split("/")[0] == "..":
                    raise ReleaseError(
                        f"{path} is a link to {target}, outside of the application's folder.",
                        "Put a copy in its place: hosts get nothing but this folder.",
                    )
                entries.append(Entry(f"{top}/{name}", link=target))
            elif stat.S_ISREG(mode):
                entries.append(Entry(f"{top}/{name}", path.read_bytes(), bool(mode & stat.S_IXUSR)))
        except FileNotFoundError:
            continue  # git still lists what was deleted
        except OSError as error:
            raise ReleaseError(f"{path} cannot be read: {error.strerror}.", "Check its owner and mode.") from error
    return entries


def _flatten(path: Path, seen: tuple[Path, ...] = ()) -> str:
    """Return a requirements file with the files it includes in place, so that one text says all."""
    lines: list[str] = []
    try:
        text = path.read_text()
    except OSError as error:
        where = f"{seen[-1]} includes it" if seen else "it is the lock"
        raise ReleaseError(f"{path} cannot be read ({where}): {error.strerror}.", "Correct the path.") from error
    for number, line in enumerate(text.splitlines(), 1):
        bare = re.sub(r"(^|\s)#.*$", "", line).strip()
        include = re.match(r"(-r|--requirement)[ =]?\s*(\S+)$", bare)
        constraint = re.match(r"(-c|--constraint)[ =]?\s*(\S+)$", bare)
        if re.match(r"(-e|--editable)?[ =]?\s*\.(\[.*\])?$", bare):
            continue  # the application itself: its folder goes in as it is
        if include and "://" not in include[2]:
            target = (path.parent / include[2]).resolve()
            if target not in (*seen, path):
                lines.append(_flatten(target, (*seen, path)))
        elif constraint and "://" not in constraint[2]:
            raise ReleaseError(
                f"{path}:{number} uses a constraints file.",
                f"Compile both into a lock: uv pip compile --generate-hashes {path.name} -o requirements.lock",
            )
        elif re.match(r"(-e|--editable)\b|\.{0,2}/|file:|.*@\s*file:", bare):
            raise ReleaseError(
                f"{path}:{number} installs from a path ({bare}), which hosts do not have.",
                "Put the code into the application's folder, or publish the package.",
            )
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"


def find_lock(source: Path) -> Lock:
    """Return the first lock of an application's folder, by the order of `LOCKS`.

    Raises:
        ReleaseError: there is none, or it cannot be used.
    """
    for name in LOCKS:
        path = source / name
        if path.is_file():
            text = path.read_text() if path.suffix == ".toml" or name == "uv.lock" else _flatten(path)
            return Lock(path, text)
    others = {
        "poetry.lock": "poetry export -f requirements.txt -o requirements.lock",
        "Pipfile.lock": "pipenv requirements --hash > requirements.lock",
        "pdm.lock": "pdm export -o requirements.lock",
        "pyproject.toml": "uv lock",
    }
    advice = "Add one: for instance `uv pip freeze > requirements.lock` in the environment that works for you."
    for name, command in others.items():
        if (source / name).is_file():
            advice = f"There is a {name}: run `{command}` in {source}."
            break
    raise ReleaseError(f"No lock file in {source}: one of {', '.join(LOCKS)} is needed.", advice)


def requirement_blocks(text: str) -> dict[str, str]:
    """Return each requirement of a lock by its package's normalised name, hashes and markers included."""
    blocks: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in text.splitlines():
        if current is not None and current[-1].rstrip().endswith("\\"):
            current.append(line)
            continue
        current = None
        match = re.match(r"([A-Za-z0-9][A-Za-z0-9._-]*)", line)
        if match:
            current = blocks.setdefault(normalise(match[1]), [])
            current.append(line)
    return {name: "\n".join(lines) + "\n" for name, lines in blocks.items()}


def locked_names(lock: Lock) -> set[str]:
    """Return the normalised names of the packages that a lock lists."""
    if lock.form == "requirements":
        return set(requirement_blocks(lock.text))
    try:
        data = tomllib.loads(lock.text)
    except tomllib.TOMLDecodeError as error:
        raise ReleaseError(
            f"{lock.path} is not TOML: {error}.", "Write it again with the tool that made it."
        ) from error
    packages = data.get("packages" if lock.form == "pylock" else "package", [])
    return {normalise(package["name"]) for package in packages if "name" in package}


def pinned(lock: Lock) -> bool:
    """Return whether a lock says the version of each package."""
    if lock.form != "requirements":
        return True
    return all("==" in block or "@" in block for block in requirement_blocks(lock.text).values())


# --- the application -------------------------------------------------------------------------------------------------


def read_project(source: Path) -> dict[str, Any]:
    """Return pyproject.toml as a mapping, empty where there is none."""
    path = source / "pyproject.toml"
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ReleaseError(f"{path} is not TOML: {error}.", "Correct it.") from error


def check_python(project: Mapping[str, Any], source: Path, version: str) -> None:
    """Refuse an application that says it does not run on the hosts' Python.

    Raises:
        ReleaseError: requires-python leaves `version` out.
    """
    wanted = str(project.get("project", {}).get("requires-python", ""))
    minor = int(version.split(".")[1])
    for operator, number in re.findall(r"(>=|<=|==|~=|!=|>|<)\s*3\.(\d+)", wanted):
        limit = int(number)
        exact = re.search(re.escape(operator) + rf"\s*3\.{number}\.[1-9]", wanted) is not None
        allowed = {
            ">=": minor >= limit,
            "<=": minor <= limit,
            "==": minor == limit,
            "~=": minor == limit if exact else minor >= limit,
            "!=": minor != limit or exact,
            ">": minor > limit or (minor == limit and exact),
            "<": minor < limit or (minor == limit and exact),
        }[operator]
        if not allowed:
            raise ReleaseError(
                f"{source}/pyproject.toml requires Python {wanted}; the hosts have {version}.",
                "Deploy to a Debian release that has it (12: Python 3.11, 13: Python 3.13), or widen requires-python.",
            )


def metadata(project: Mapping[str, Any], release_id: str) -> list[Entry]:
    """Return a .dist-info for the application, so that importlib.metadata knows it and its entry points."""
    table: Mapping[str, Any] = project.get("project") or project.get("tool", {}).get("poetry", {})
    name = table.get("name")
    if not isinstance(name, str) or not name:
        return []
    version = str(table.get("version") or f"0+{release_id}")
    folder = f"{re.sub(r'[-_.]+', '_', name)}-{version.replace('-', '_')}.dist-info"
    groups = {"console_scripts": table.get("scripts", {}), "gui_scripts": table.get("gui-scripts", {})}
    groups |= table.get("entry-points", {})
    entry_points = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    entry_points.optionxform = str  # type: ignore[assignment,method-assign]
    for group, points in sorted(groups.items()):
        if points:
            entry_points[group] = {key: str(value) for key, value in sorted(points.items())}
    entries = [
        Entry(f"{folder}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()),
        Entry(f"{folder}/INSTALLER", b"celery_on_hosts\n"),
    ]
    if entry_points.sections():
        text = "\n".join(
            f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in entry_points[group].items())
            for group in entry_points.sections()
        )
        entries.append(Entry(f"{folder}/entry_points.txt", text.encode()))
    return entries


def code_roots(entries: Iterable[Entry]) -> list[str]:
    """Return the folders of an application that belong on the path: itself, and src where that holds its code."""
    code = any(entry.path.startswith("app/src/") and entry.path.endswith(".py") for entry in entries)
    package = any(entry.path == "app/src/__init__.py" for entry in entries)
    return ["app", "app/src"] if code and not package else ["app"]


def modules(entries: Iterable[Entry], roots: Sequence[str]) -> set[str]:
    """Return the names of the top-level modules and packages below `roots`."""
    names = set()
    for entry in entries:
        for root in roots:
            if entry.path.startswith(f"{root}/") and entry.path.endswith((".py", ".so")):
                names.add(entry.path[len(root) + 1 :].split("/")[0].split(".")[0])
    return names


def check_syntax(entries: Iterable[Entry], version: str, source: Path) -> list[str]:
    """Compile the application's files for the hosts' Python.

    Returns:
        Warnings: files that only a newer Python than this one could judge.

    Raises:
        ReleaseError: files that do not compile, each with its line.
    """
    target = (3, int(version.split(".")[1]))
    errors: list[str] = []
    doubtful: list[str] = []
    for entry in entries:
        parts = PurePosixPath(entry.path).parts
        if not entry.path.endswith(".py") or entry.link is not None or NOT_CODE & set(parts[1:]):
            continue
        name = str(source / PurePosixPath(*parts[1:]))
        try:
            with python_warnings.catch_warnings():
                python_warnings.simplefilter("ignore")
                if sys.version_info[:2] == target:
                    compile(entry.data, name, "exec", dont_inherit=True)
                else:
                    ast.parse(entry.data, name, feature_version=target)
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None) or 1
            found = f"{name}:{line}: {getattr(error, 'msg', None) or error}"
            (errors if sys.version_info[:2] >= target else doubtful).append(found)
    if errors:
        shown = "\n  ".join(errors[:10])
        raise ReleaseError(f"{len(errors)} file(s) do not compile for Python {version}:\n  {shown}", "Correct them.")
    older = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return [f"{item} (judged by Python {older}; the hosts have {version} and check again)" for item in doubtful]


# --- packages --------------------------------------------------------------------------------------------------------


def installed(site: Path) -> dict[str, Path]:
    """Return the .dist-info folder of each package in a folder, by normalised name."""
    return {normalise(path.name.split("-")[0]): path for path in sorted(site.glob("*.dist-info"))}


def _explain(stderr: str, lock: Path, version: str) -> ReleaseError:
    """Return uv's error in words that name the package and what to do."""
    text = stderr.strip()
    clean = re.sub(r"\s+", " ", text)
    package = re.search(r"`([A-Za-z0-9][\w.-]*==[^`\s]+)`", text) or re.search(
        r"\b([A-Za-z0-9][\w.-]*==[\w.+!]+)", text
    )
    name = package[1] if package else "a package"
    shown = "\n  ".join(text.splitlines()[-15:])
    if re.search(
        r"dns error|error sending request|Could not connect|timed out|Network|tls|certificate", clean, re.IGNORECASE
    ):
        what, advice = "The package index cannot be reached", "Check the controller's network and UV_DEFAULT_INDEX."
    elif re.search(r"hash mismatch|Hash mismatch", clean):
        what, advice = f"{name} is not what {lock.name} locked", "Make the lock again; if nobody changed it, be wary."
    elif "require-hashes" in clean:
        what, advice = (
            f"{name} has no hash in {lock.name}",
            "Give each package its hashes: uv pip compile --generate-hashes",
        )
    elif re.search(r"not compatible with the target|no wheels with a matching|no usable wheels", clean):
        what = f"{name} has no wheel for Python {version}, and this controller cannot build one for it"
        advice = f"Lock a version that has one, or put a wheel for Python {version} into an index of your own."
    elif re.search(r"Failed to (download and )?build", clean):
        what = f"{name} has no wheel for Python {version} and does not build here"
        advice = "Lock a version that has a wheel, or install what its build asks for."
    elif re.search(r"requested Python version|depends on Python|requires Python|current Python version", clean):
        what = f"{name} does not run on Python {version}, which the hosts have"
        advice = f"Lock again for it: uv pip compile --python-version {version} …"
    elif re.search(r"was not found|no version of|not found in the package registry|unsatisfiable", clean):
        what, advice = f"{lock.name} asks for packages that do not exist or do not fit together", "Lock again."
    else:
        what, advice = f"uv could not install {lock.name}", "uv says above what it stumbled over."
    return ReleaseError(f"{what} ({lock}).\n  {shown}", advice)


@dataclass(frozen=True)
class Installer:
    """uv, told to install into a folder for another machine."""

    uv: str
    version: str
    platform: str
    cwd: Path

    def run(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run uv.

        Raises:
            ReleaseError: there is no uv.
        """
        keep_out = ("VIRTUAL_ENV", "UV_PYTHON", "UV_TARGET", "UV_PREFIX", "PYTHONPATH", "PYTHONHOME")
        environment = {key: value for key, value in os.environ.items() if key not in keep_out}
        environment |= {"NO_COLOR": "1", "UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1"}
        try:
            return subprocess.run(
                [self.uv, *arguments], cwd=self.cwd, env=environment, capture_output=True, text=True, check=False
            )
        except OSError as error:
            raise ReleaseError(
                f"uv cannot be run ({self.uv}): {error.strerror}.", "Run `make setup`, or name uv's path."
            ) from error

    def interpreter(self) -> str:
        """Return the Python to build with: the hosts' version where the controller has it, else this one."""
        found = self.run(["python", "find", "--no-project", "--system", self.version])
        return found.stdout.strip() if found.returncode == 0 else sys.executable

    def install(self, requirements: Path, lock: Lock, site: Path, *, deps: bool, offline_first: bool) -> None:
        """Install a requirements file or pylock.toml into `site`.

        A pinned lock is tried from uv's cache alone first, so that a warm cache needs no network.

        Raises:
            ReleaseError: a package cannot be had for the hosts' Python.
        """
        arguments = ["pip", "install", "--quiet", "--python", self.interpreter(), "--target", str(site)]
        arguments += ["--python-version", self.version, "--python-platform", PLATFORMS[self.platform]]
        arguments += [] if deps else ["--no-deps"]
        arguments += ["--require-hashes"] if lock.form != "pylock" and "--hash=" in requirements.read_text() else []
        arguments += ["--requirement", str(requirements)]
        attempts = [["--offline"], []] if offline_first else [[], ["--offline"]]
        found = [self.run([*arguments, *extra]) for extra in attempts[:1]]
        if found[0].returncode:
            found.append(self.run([*arguments, *attempts[1]]))
        if found[-1].returncode:
            online = found[-1] if offline_first else found[0]
            raise _explain(online.stderr, lock.path, self.version)

    def export(self, lock: Lock) -> str:
        """Return uv.lock as requirements."""
        arguments = ["export", "--quiet", "--frozen", "--no-dev", "--no-emit-project", "--no-header", "--offline"]
        done = self.run([*arguments, "--directory", str(lock.path.parent)])
        if done.returncode:
            raise ReleaseError(f"uv cannot read {lock.path}.\n  {done.stderr.strip()[-600:]}", "Run `uv lock` again.")
        return done.stdout


def install_packages(lock: Lock, extra: Lock | None, request: Request, site: Path, work: Path) -> None:
    """Install a lock's packages, and those of `extra` that it does not bring, into `site`.

    Raises:
        ReleaseError: a package cannot be installed, or is built for another Python.
    """
    installer = Installer(request.uv, request.python_version, request.platform, lock.path.parent)
    requirements = work / ("pylock.toml" if lock.form == "pylock" else "requirements.txt")
    if lock.form == "uv":
        exported = work / "uv.txt"
        exported.write_text(installer.export(lock))
        text = _flatten(exported)
    else:
        text = lock.text
    # uv would hold requires-python against its own Python, not the hosts'; check_python and the markers look at those
    requirements.write_text(re.sub(r"(?m)^requires-python\s*=.*\n", "", text) if lock.form == "pylock" else text)
    site.mkdir(parents=True)
    installer.install(requirements, lock, site, deps=True, offline_first=pinned(lock))
    if extra:
        have = installed(site)
        missing = "".join(block for name, block in requirement_blocks(extra.text).items() if name not in have)
        if missing:
            added = work / "platform.txt"
            added.write_text(missing)
            installer.install(added, extra, site, deps=False, offline_first=True)
    tag = request.python_version.replace(".", "")
    for path in site.rglob("*.cpython-*.so"):
        if f".cpython-{tag}-" not in path.name:
            package = path.relative_to(site).parts[0].split(".")[0]
            raise ReleaseError(
                f"{package} has no wheel for Python {request.python_version}: what was built here is {path.name}.",
                f"Lock a version that has a wheel for Python {request.python_version}.",
            )


def package_entries(site: Path, top: str, python: str | None) -> Iterator[Entry]:
    """Yield the files of an installed folder as an archive takes them.

    Args:
        site: where uv installed.
        top: their folder in the archive.
        python: interpreter named in the scripts of bin/, or None to leave these out.
    """
    for path in sorted(site.rglob("*")):
        name = path.relative_to(site).as_posix()
        debris = name == ".lock" or "__pycache__" in path.parts or path.name in ("uv_cache.json", "uv_build.json")
        if debris or (path.is_dir() and not path.is_symlink()):
            continue
        if name.startswith("bin/"):
            if python and path.is_file():
                body = path.read_bytes()
                body = re.sub(rb"\A#!.*\n", f"#!{python}\n".encode(), body, count=1)
                yield Entry(name, body, True)
            continue
        data = path.read_bytes()
        if path.name == "RECORD" and path.parent.name.endswith(".dist-info"):  # scripts differ by controller
            data = b"".join(line for line in data.splitlines(True) if not re.match(rb"(\.\./)*bin/|.*uv_cache", line))
        yield Entry(f"{top}/{name}", data, os.access(path, os.X_OK) and path.suffix != ".so")


# --- archives --------------------------------------------------------------------------------------------------------


def write_archive(path: Path, top: str, entries: Iterable[Entry]) -> None:
    """Write a tar.gz that depends on its content only, and appears whole or not at all.

    Owner root, a fixed date, files 0644 or 0755, so that nobody but root can change what was unpacked.
    """

    def info(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
        item = tarfile.TarInfo(name)
        item.type, item.mode, item.mtime = kind, mode, MTIME
        item.uname = item.gname = "root"
        return item

    ordered = sorted(entries, key=lambda entry: entry.path)
    folders = {"."} | {str(parent) for entry in ordered for parent in PurePosixPath(entry.path).parents}
    temporary = path.with_name(f".{path.name}.part")
    with temporary.open("wb") as raw:
        with (
            gzip.GzipFile("", "wb", GZIP_LEVEL, raw, MTIME) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
        ):
            for folder in sorted(folders):
                tar.addfile(info(top if folder == "." else f"{top}/{folder}", tarfile.DIRTYPE, 0o755))
            for entry in ordered:
                if entry.link is not None:
                    item = info(f"{top}/{entry.path}", tarfile.SYMTYPE, 0o777)
                    item.linkname = entry.link
                    tar.addfile(item)
                else:
                    item = info(f"{top}/{entry.path}", tarfile.REGTYPE, 0o755 if entry.executable else 0o644)
                    item.size = len(entry.data)
                    tar.addfile(item, io.BytesIO(entry.data))
        raw.flush()
        os.fsync(raw.fileno())
    temporary.replace(path)


def prune(folder: Path, keep: int) -> None:
    """Remove all but the `keep` archives of each layer that were used last.

    One that was used within the last hour stays in any case: it may belong to a deployment to other hosts that goes on.
    """
    recent = time.time() - 3600
    for layer in ("deps", "release"):
        archives = sorted(folder.glob(f"{layer}-*.tar.gz"), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in archives[keep:]:
            if old.stat().st_mtime > recent:
                continue
            old.with_name(old.name.replace(".tar.gz", ".json")).unlink(missing_ok=True)
            old.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


# --- the build -------------------------------------------------------------------------------------------------------


def _validate(request: Request) -> None:
    if not re.fullmatch(r"3\.\d+", request.python_version):
        raise ReleaseError(f"python_version is {request.python_version!r}.", "Allowed: major and minor, such as 3.13.")
    if request.platform not in PLATFORMS:
        raise ReleaseError(f"platform is {request.platform!r}.", f"Allowed: {', '.join(PLATFORMS)}.")
    if request.kind == "packages":
        if not request.source.is_file():
            raise ReleaseError(f"The lock file {request.source} does not exist.", "Correct the path.")
        return
    if not request.source.is_dir():
        raise ReleaseError(
            f"celery_app_source is {request.source}: no such folder.", "Set it to the folder of your application."
        )
    if request.runtime is None or not (request.runtime / "celery_on_hosts").is_dir():
        raise ReleaseError(f"No celery_on_hosts package in {request.runtime}.", "Check that the checkout is complete.")
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(:[A-Za-z_][\w.]*)?", request.app):
        raise ReleaseError(
            f"celery_app is {request.app!r}.", "Allowed: what `celery -A` takes, such as proj, proj.celery or proj:app."
        )


def _built_from(source: Path) -> str | None:
    """Return the commit that last touched the application, '+changes' added where files differ from it."""
    try:
        git = ["git", "-C", str(source)]
        commit = subprocess.run(
            [*git, "log", "-1", "--format=%h", "--", "."], capture_output=True, text=True, check=True
        )
        state = subprocess.run([*git, "status", "--porcelain", "--", "."], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    name = commit.stdout.strip()
    return (f"{name}+changes" if state.stdout.strip() else name) or None


def build(request: Request) -> Result:
    """Build the two archives of a release, unless the cache has them.

    Raises:
        ReleaseError: the release cannot be built; nothing half-made is left behind.
    """
    _validate(request)
    python, root = request.python_version, request.install_root.rstrip("/")
    site = f"lib/python{python}/site-packages"
    tree: list[Entry] = []
    project: dict[str, Any] = {}
    extra: Lock | None = None
    notes: list[str] = []
    if request.kind == "app":
        lock = find_lock(request.source)
        project = read_project(request.source)
        check_python(project, request.source, python)
        tree = read_tree(request.source, "app")
        runtime = request.runtime or Path()  # _validate has seen to it
        tree += read_tree(runtime / "celery_on_hosts", "runtime/celery_on_hosts", git=False)
        platform_lock = runtime / "requirements.lock"
        if platform_lock.is_file():
            extra = Lock(platform_lock, _flatten(platform_lock))
        size = sum(len(entry.data) for entry in tree)
        if size > LARGE:
            notes.append(f"{request.source} brings {size >> 20} MiB into each release; .gitignore what is not needed.")
    else:
        lock = Lock(request.source, _flatten(request.source))
    if not pinned(lock):
        notes.append(f"{lock.path} does not pin each version: the same deploy may install others another day.")

    inputs = [BUILDER, request.kind, python, request.platform, root, lock.form, lock.text, extra.text if extra else ""]
    deps_id = digest(inputs)
    release_id = digest([BUILDER, deps_id, python, root, request.app, digest_entries(tree)])
    result = Result(
        release_id,
        deps_id,
        request.output / f"release-{release_id}.tar.gz",
        request.output / f"deps-{deps_id}.tar.gz",
        warnings=notes,
    )
    request.output.mkdir(parents=True, exist_ok=True)
    if _touch(result):
        return result

    with _locked(request.output):
        if _touch(result):  # another build made them meanwhile
            return result
        for left in request.output.glob(".build-*"):
            shutil.rmtree(left, ignore_errors=True)
        for left in request.output.glob(".*.part"):
            left.unlink(missing_ok=True)
        manifest = result.deps_archive.with_name(f"deps-{deps_id}.json")
        if request.kind == "app":
            notes += check_syntax((entry for entry in tree if entry.path.startswith("app/")), python, request.source)
        if not (result.deps_archive.is_file() and manifest.is_file()):
            notes += _build_deps(request, lock, extra, result.deps_archive, manifest, deps_id, site)
        roots = code_roots(tree) if request.kind == "app" else []
        if request.kind == "app":
            _check_app(request.app, modules(tree, roots), json.loads(manifest.read_text())["modules"], request.source)
        record = {
            "release_id": release_id,
            "deps_id": deps_id,
            "kind": request.kind,
            "app": request.app or None,
            "python": python,
            "platform": request.platform,
            "built_from": _built_from(request.source if request.kind == "app" else request.source.parent),
        }
        venv = f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {python}\n"
        # absolute paths: what a process imports late still comes from its own release when `current` has moved
        paths = [f"import site; site.addsitedir('{root}/deps/{deps_id}/{site}')"]  # their own .pth files count too
        paths += [f"{root}/releases/{release_id}/{name}" for name in roots]
        paths += [f"{root}/releases/{release_id}/runtime"] if request.kind == "app" else []
        entries = [
            *tree,
            Entry("bin/python", link="/usr/bin/python3"),
            Entry("bin/python3", link="python"),
            Entry("pyvenv.cfg", venv.encode()),
            Entry(f"{site}/release.pth", ("\n".join(paths) + "\n").encode()),
            Entry("release.json", (json.dumps(record, indent=2) + "\n").encode()),
            *(
                Entry(f"{site}/{entry.path}", entry.data)
                for entry in (metadata(project, release_id) if request.kind == "app" else [])
            ),
        ]
        write_archive(result.release_archive, release_id, entries)
        prune(request.output, request.keep)
    result.changed = True
    return result


def _touch(result: Result) -> bool:
    """Mark both archives as used, and return whether they are there."""
    try:
        for path in (result.deps_archive, result.release_archive):
            os.utime(path)
    except FileNotFoundError:
        return False
    return True


def _build_deps(
    request: Request, lock: Lock, extra: Lock | None, archive: Path, manifest: Path, deps_id: str, site: str
) -> list[str]:
    """Build the packages' archive and the list of what is in it, and return what is worth a warning."""
    work = Path(tempfile.mkdtemp(prefix=".build-", dir=request.output))
    try:
        target = work / "site"
        install_packages(lock, extra, request, target, work)
        found = installed(target)
        packages = {name: path.name.removesuffix(".dist-info").split("-")[1] for name, path in found.items()}
        if request.kind == "app" and "celery" not in packages:
            raise ReleaseError(f"{lock.path} does not bring celery.", "Add celery to your application's requirements.")
        python = f"{request.install_root.rstrip('/')}/current/bin/python" if request.kind == "app" else None
        entries = list(package_entries(target, site, python))
        names = sorted(modules(entries, [site]))
        manifest.write_text(json.dumps({"packages": packages, "modules": names}, indent=1) + "\n")
        write_archive(archive, deps_id, entries)
        notes = []
        unlisted = sorted(packages.keys() - locked_names(lock) - (locked_names(extra) if extra else set()))
        if unlisted and pinned(lock):
            notes.append(
                f"{lock.path} does not list {', '.join(unlisted)}: the same deploy may install others another day."
            )
        compiled = [name for name, path in found.items() if _compiled_here(path)]
        if compiled:
            notes.append(
                f"Compiled on this controller, for want of a wheel, so try them on a host: {', '.join(compiled)}."
            )
        return notes
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _compiled_here(info: Path) -> bool:
    """Return whether a package was compiled here: wheels of an index for Linux are tagged manylinux."""
    wheel = info / "WHEEL"
    return wheel.is_file() and re.search(r"(?m)^Tag: .*-linux_", wheel.read_text()) is not None


def _check_app(app: str, own: set[str], packages: Sequence[str], source: Path) -> None:
    name = app.split(":")[0].split(".")[0]
    if name in own or name in packages:
        return
    near = difflib.get_close_matches(name, sorted(own), 1)
    raise ReleaseError(
        f"celery_app is {app}, and {source} has no module {name} (it has: {', '.join(sorted(own)) or 'none'}).",
        f"Did you mean {near[0]}?" if near else "Set celery_app to what you give `celery -A`.",
    )
