"""Find the Debian package of a shared library that an import misses."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Sequence

# What the loader, cffi, and packages that look for a library themselves say.
MISSING = (
    re.compile(r"(?P<name>lib[\w.+-]+?\.so[\w.]*): cannot open shared object file"),
    re.compile(r"cannot load library '(?P<name>[\w.+-]+)'"),
    re.compile(r"failed to find (?P<name>lib[\w-]+)"),
    re.compile(r"Unable to find (?P<name>[\w-]+) shared library"),
    re.compile(r"(?P<name>[\w-]+) library not found"),
)
SONAME = re.compile(r"(?P<stem>lib[\w.+-]+?)\.so(?:\.(?P<version>\d+)[\d.]*)?")
GLIB = re.compile(r"libg(lib|object|io|thread|module)-2\.0.*")  # one package holds all of these
OTHER_KINDS = ("-dev", "-dbg", "-dbgsym", "-doc", "-data", "-common", "-bin", "-tools", "-utils", "-mesa-dev")
T64 = "t64"  # ends names since Debian 13, whose time_t has 64 bits


def advice(error: BaseException) -> str:
    """Return which package to install for an import that misses a shared library; empty for other errors.

    Args:
        error: what the import raised.
    """
    if not isinstance(error, ImportError | OSError):
        return ""
    name = missing_library(str(error))
    if not name:
        return ""
    package = package_of(name, _apt_names)
    if package:
        return f"{name} is in the Debian package {package}. Add {package} to celery_packages."
    return (
        f"apt knows no package that is named after {name}. Add the package that holds the library to celery_packages."
    )


def missing_library(message: str) -> str:
    """Return the library that an error names as missing, empty where it names none."""
    for pattern in MISSING:
        found = pattern.search(message)
        if found:
            return found["name"]
    return ""


def package_of(library: str, names: Callable[[str], Sequence[str]]) -> str:
    """Return the package that Debian's rules for names give a library, empty where there is none.

    Args:
        library: its file name, such as libmagic.so.1, or its name alone.
        names: returns the names of packages that begin with a text.
    """
    library = library if library.startswith("lib") else f"lib{library}"
    if GLIB.match(library):
        return _first(["libglib2.0-0"], names("libglib2.0-0"))
    found = SONAME.fullmatch(library)
    stem = (found["stem"] if found else library).lower().replace("_", "-")
    version = (found["version"] if found else None) or ""
    known = [name for name in names(stem) if not name.endswith(OTHER_KINDS)]
    if version:
        named = f"{stem}-{version}" if stem[-1].isdigit() else f"{stem}{version}"
        longer = [name for name in sorted(known) if re.match(re.escape(named) + r"[.-]", name)]
        return _first([named, stem, *longer[:1]], known)
    numbered = [name for name in sorted(known) if re.fullmatch(re.escape(stem) + r"-?[\d.]+(t64)?", name)]
    return _first([stem, *reversed(numbered)], known)


def _first(wanted: Sequence[str], known: Sequence[str]) -> str:
    candidates = (name for one in wanted for name in (f"{one}{T64}", one))
    return next((name for name in candidates if name in known), "")


def _apt_names(begin: str) -> list[str]:
    """Return the names of packages that apt knows and that begin with a text; none where there is no apt."""
    try:
        done = subprocess.run(["apt-cache", "pkgnames", begin], capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.split()
