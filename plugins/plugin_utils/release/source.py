# SPDX-License-Identifier: MIT
"""Read the files of a folder that belong to the application, and the commit that they are of."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.archive import Entry
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.request import ReleaseError

# What tools make and nobody misses: left out, and not mentioned.
DEBRIS = (
    *(".git", ".hg", ".svn", ".venv", "venv", ".tox", ".nox", "__pycache__", "node_modules", ".mypy_cache"),
    *(".pytest_cache", ".ruff_cache", ".ansible", ".idea", ".vscode", ".DS_Store", "*.pyc", "*.pyo", "*.egg-info"),
    *("*.swp", "celerybeat-schedule*"),
)
SECRETS = (".env",)  # left out, and mentioned
NEVER = (".git", "__pycache__", "*.pyc")  # of a folder that celery_app_include names
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
REPOSITORY_VARIABLES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")  # set in git's hooks


@dataclass(frozen=True)
class Tree:
    """The files of a folder.

    Args:
        entries: the files as an archive holds them.
        left_out: names that do not belong to the application; a folder ends with /.
        warnings: files that are not what they seem, in words.
    """

    entries: list[Entry]
    left_out: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def read_tree(source: Path, top: str, git: bool = True, include: Sequence[str] = ()) -> Tree:
    """Read the files of a folder that belong to the application.

    In a git work tree these are the files that git does not ignore, those of submodules included; elsewhere all files
    but caches and the like (`DEBRIS`, `SECRETS`).

    Args:
        source: the folder.
        top: the folder of the archive that they go to.
        git: whether to ask git.
        include: further files, folders and patterns, relative to the folder.

    Raises:
        ReleaseError: git fails, a link leads out of the folder, a name is not UTF-8, `include` names what does not
            exist, or a file cannot be read.
    """
    known = git_files(source) if git else None
    listed = known or _walked_files(source)
    included = set(_included(source, include))
    names = sorted({name for name in listed if not _matches(name, DEBRIS + SECRETS)} | included)
    entries: list[Entry] = []
    warnings: list[str] = []
    for name in names:
        _check_name(source, name)
        try:
            entry = _read_file(source, name, top)
        except FileNotFoundError:
            continue  # git still lists what was deleted
        except OSError as error:
            raise ReleaseError(
                f"{source / name} cannot be read: {error.strerror}.", "Check its owner and mode."
            ) from error
        if entry is None:
            warnings.append(f"{source / name} is neither a file nor a folder nor a link, and is left out.")
        else:
            entries.append(entry)
    warnings += _link_warnings(source, entries, top) + _pointer_warnings(source, entries, top)
    ignored = [name for name in listed if _matches(name, SECRETS) and not _matches(name, DEBRIS)]
    ignored += _git_ignored(source) if known else []  # in a folder that is ignored itself, this question is an error
    left_out = {name for name in ignored if not any(f"{one}/".startswith(f"{name.rstrip('/')}/") for one in included)}
    return Tree(entries, tuple(sorted(left_out)), tuple(warnings))


def _check_name(source: Path, name: str) -> None:
    """Refuse a name that is not UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        raise ReleaseError(
            f"The name of {shown} in {source} is not UTF-8.",
            "Rename it (convmv -r -f latin1 -t utf8 --notest FOLDER renames all), or move it out of the folder.",
        ) from None


def _read_file(source: Path, name: str, top: str) -> Entry | None:
    """Return a file or link as an archive holds it; None for a socket or the like."""
    path = source / name
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        target = str(path.readlink())
        if target.startswith(f"{source}/"):
            target = os.path.relpath(target, path.parent)
        leads_to = os.path.normpath(path.parent.relative_to(source) / target)
        if target.startswith("/") or leads_to.split("/")[0] == "..":
            raise ReleaseError(
                f"{path} is a link to {target}, outside of the application's folder.",
                "Put a copy in its place, because hosts get nothing but this folder, or add the link to .gitignore.",
            )
        return Entry(f"{top}/{name}", link=target)
    if stat.S_ISREG(mode):
        return Entry(f"{top}/{name}", path.read_bytes(), bool(mode & stat.S_IXUSR))
    return None


def _link_warnings(source: Path, entries: Iterable[Entry], top: str) -> list[str]:
    """Return a warning for each link whose target does not ship."""
    entries = list(entries)
    there = {entry.path for entry in entries}
    there |= {str(parent) for entry in entries for parent in PurePosixPath(entry.path).parents}
    links = {entry.path for entry in entries if entry.link is not None}
    found = []
    for entry in entries:
        if entry.link is not None:
            target = os.path.normpath(PurePosixPath(entry.path).parent / entry.link)
            through_link = any(str(parent) in links for parent in PurePosixPath(target).parents)
            if target not in there and not through_link:
                name = entry.path.removeprefix(f"{top}/")
                found.append(f"{source / name} is a link to {entry.link}, which is not in the release.")
    return found


def _pointer_warnings(source: Path, entries: Iterable[Entry], top: str) -> list[str]:
    """Return a warning for each file whose content git-lfs has not fetched."""
    names = [entry.path.removeprefix(f"{top}/") for entry in entries if entry.data.startswith(LFS_POINTER)]
    return [f"{source / name} is a pointer of git-lfs, not the file: run `git lfs pull`." for name in names]


def _matches(path: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(part, pattern) for part in PurePosixPath(path).parts for pattern in patterns)


def _included(source: Path, include: Sequence[str]) -> Iterator[str]:
    """Yield the files that `include` names.

    Raises:
        ReleaseError: a name or pattern fits nothing.
    """
    for pattern in include:
        found = sorted(source.glob(pattern.rstrip("/")))
        if not found:
            raise ReleaseError(
                f"celery_app_include names {pattern}, and {source} has no such file or folder.",
                "Make it before the deployment, or remove it from celery_app_include.",
            )
        for path in found:
            name = path.relative_to(source).as_posix()
            if path.is_dir() and not path.is_symlink():
                yield from (f"{name}/{below}" for below in _walked_files(path, NEVER, ()))
            else:
                yield name


def git_files(source: Path) -> list[str] | None:
    """Return the files that git knows or would add, those of submodules included; None outside of a work tree.

    Raises:
        ReleaseError: git fails, or a submodule is not checked out.
    """
    listing = _ask_git(source, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if listing is None:
        return None
    names: list[str] = []
    for name in _split(listing):
        folder = source / name
        if folder.is_symlink() or not folder.is_dir():
            names.append(name)
            continue
        # git lists a folder only where it is another work tree: a submodule, or a clone inside of this one.
        if not (folder / ".git").exists():
            raise ReleaseError(
                f"{folder} is a git submodule that is not checked out.",
                f"Run `git submodule update --init --recursive` in {source}.",
            )
        names += [f"{name.rstrip('/')}/{below}" for below in git_files(folder) or []]
    return sorted(set(names)) or None  # none at all: the folder itself is ignored


def _git_ignored(source: Path) -> list[str]:
    """Return what git ignores in a folder, caches and the like left out; a folder ends with /."""
    listing = _ask_git(source, "ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory")
    names = [name for name in _split(listing or b"") if name not in ("", "./")]
    return [name for name in names if not _matches(name, DEBRIS)]


def _split(listing: bytes) -> list[str]:
    return [name for name in listing.decode("utf-8", "surrogateescape").split("\0") if name]


def _walked_files(source: Path, leave_out: Sequence[str] = DEBRIS, prune: Sequence[str] = SECRETS) -> list[str]:
    """Return the files of a folder, without names of `leave_out`, and without folders of `prune`."""
    names: list[str] = []
    for folder, folders, files in os.walk(source):
        here = Path(folder)
        links = [name for name in folders if (here / name).is_symlink()]
        folders[:] = sorted(name for name in folders if name not in links and not _matches(name, (*leave_out, *prune)))
        kept = [name for name in files + links if not _matches(name, leave_out)]
        names += [(here / name).relative_to(source).as_posix() for name in kept]
    return sorted(names)


def built_from(source: Path) -> str | None:
    """Return the commit that last changed a folder, '+changes' added where files differ from it.

    None where the folder belongs to no git work tree.
    """
    try:
        commit = _git(source, "log", "-1", "--format=%h", "--", ".").decode().strip()
        changes = _git(source, "status", "--porcelain", "--", ".").strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    return (f"{commit}+changes" if changes else commit) or None


def _ask_git(source: Path, *arguments: str) -> bytes | None:
    """Return what git says of a folder, None where the folder belongs to no work tree.

    Raises:
        ReleaseError: the folder belongs to a work tree, and git fails.
    """
    top = next((folder for folder in (source, *source.parents) if os.path.lexists(folder / ".git")), None)
    if top is None:
        return None
    try:
        return _git(source, *arguments)
    except OSError as error:
        raise ReleaseError(
            f"{top} is a git work tree, and git cannot be run: {error.strerror}.",
            "Install git: it says which files belong to the application.",
        ) from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode("utf-8", "backslashreplace").strip()
        if "up to mount point" in said:
            return None  # git does not look for a work tree beyond the file system
        advice = f"Repair the work tree, or remove {top / '.git'} if it is none: then all files of {source} ship."
        exception = re.search(r"git config --global --add safe\.directory \S+", said)
        if exception:
            advice = f"Deploy as the owner of {top}, or trust the folder: `{exception[0]}`."
        shown = "\n  ".join(said.splitlines()[-5:])
        raise ReleaseError(
            f"git fails in {source}, so it is not known which files belong to the application.\n  {shown}", advice
        ) from error


def _git(source: Path, *arguments: str) -> bytes:
    """Run git in a folder. Raises OSError or CalledProcessError."""
    environment = {key: value for key, value in os.environ.items() if key not in REPOSITORY_VARIABLES}
    environment |= {"LC_ALL": "C"}
    command = ["git", "-C", str(source), *arguments]
    return subprocess.run(command, capture_output=True, check=True, env=environment).stdout
