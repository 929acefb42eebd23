"""A missing shared library is named with its Debian package."""

from __future__ import annotations

import pytest

from celery_on_hosts.check.libraries import advice, missing_library, package_of

# As `apt-cache pkgnames` prints them.
DEBIAN_12 = (
    "libmagic1",
    "libmagic-dev",
    "libmagic-mgc",
    "libglib2.0-0",
    "libglib2.0-dev",
    "libjpeg62-turbo",
    "libxml2",
)
DEBIAN_13 = ("libmagic1t64", "libmagic-dev", "libglib2.0-0t64", "libglib2.0-0", "libsqlite3-0", "libxslt1.1", "libgl1")
OTHERS = ("libpango-1.0-0", "libpangocairo-1.0-0", "libzbar0", "libsndfile1", "libgeos-c1t64", "libpq5", "libpq-dev")


@pytest.mark.parametrize(
    ("library", "packages", "expected"),
    [
        ("libmagic.so.1", DEBIAN_12, "libmagic1"),
        ("libmagic.so.1", DEBIAN_13, "libmagic1t64"),
        ("libmagic", DEBIAN_12, "libmagic1"),
        ("libgobject-2.0.so.0", DEBIAN_12, "libglib2.0-0"),
        ("gobject-2.0-0", DEBIAN_13, "libglib2.0-0t64"),
        ("libjpeg.so.62", DEBIAN_12, "libjpeg62-turbo"),
        ("libxml2.so.2", DEBIAN_12, "libxml2"),
        ("libxslt.so.1", DEBIAN_13, "libxslt1.1"),
        ("libsqlite3.so.0", DEBIAN_13, "libsqlite3-0"),
        ("libGL.so.1", DEBIAN_13, "libgl1"),
        ("libpango-1.0-0", OTHERS, "libpango-1.0-0"),
        ("libpango-1.0.so.0", OTHERS, "libpango-1.0-0"),
        ("zbar", OTHERS, "libzbar0"),
        ("sndfile", OTHERS, "libsndfile1"),
        ("libgeos_c.so.1", OTHERS, "libgeos-c1t64"),
        ("libpq.so.5", OTHERS, "libpq5"),
        ("libnowhere.so.3", OTHERS, ""),
    ],
)
def test_package_of(library: str, packages: tuple[str, ...], expected: str) -> None:
    assert package_of(library, lambda begin: [name for name in packages if name.startswith(begin)]) == expected


@pytest.mark.parametrize(
    ("message", "library"),
    [
        ("libmagic.so.1: cannot open shared object file: No such file or directory", "libmagic.so.1"),
        ("libstdc++.so.6: cannot open shared object file: No such file or directory", "libstdc++.so.6"),
        ("failed to find libmagic.  Check your installation", "libmagic"),
        ("cannot load library 'libpango-1.0-0': libpango-1.0-0: cannot open shared object file", "libpango-1.0-0"),
        ("Unable to find zbar shared library", "zbar"),
        ("sndfile library not found", "sndfile"),
        ("No module named 'magic'", ""),
        ("cannot import name 'x' from 'lib.so'", ""),
    ],
)
def test_missing_library(message: str, library: str) -> None:
    assert missing_library(message) == library


def test_other_errors_are_left_alone() -> None:
    assert advice(ValueError("libmagic.so.1: cannot open shared object file")) == ""
    assert advice(ModuleNotFoundError("No module named 'x'")) == ""
