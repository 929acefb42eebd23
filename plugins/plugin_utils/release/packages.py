# SPDX-License-Identifier: MIT
"""Have uv install the packages of a lock for the hosts' Python, and read what it installed."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import subprocess
import sys
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.application import read_project
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.archive import Entry
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.lock import (
    Lock,
    from_reader,
    pinned,
    requirement_blocks,
)
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.request import (
    PLATFORMS,
    ReleaseError,
    Request,
)
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.requirements import Reader, replace_path
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.source import read_tree
from packaging.utils import canonicalize_name

# Lines of RECORD that differ by controller: scripts, uv's cache, the folder that a project was built from.
OF_THIS_MACHINE = re.compile(rb"(\.\./)*bin/|.*uv_cache|.*/direct_url\.json,")
# What uv's error contains, what that means, and what to do about it; the first that fits.
FAILURES: tuple[tuple[str, str, str], ...] = (
    (
        r"Git operation failed|failed to (fetch|clone)|Git executable not found",
        "git cannot fetch a repository that {lock} names",
        "Check the address and the revision, and that this controller may read the repository (ssh-agent).",
    ),
    (
        r"(?i)dns error|error sending request|Could not connect|timed out|Network|tls|certificate",
        "The package index cannot be reached",
        "Check the controller's network and UV_DEFAULT_INDEX.",
    ),
    (
        r"[hH]ash mismatch",
        "{package} is not what {lock} locked",
        "Make the lock again; if nobody changed it, be wary.",
    ),
    (
        r"require-hashes",
        "{package} has no hash in {lock}",
        "Give each package its hashes: uv pip compile --generate-hashes",
    ),
    (
        r"not compatible with the target|no wheels with a matching|no usable wheels",
        "{package} has no wheel for {target}, and this controller cannot build one for it",
        "Lock a version that has one, or put a wheel for {target} into an index of your own.",
    ),
    (
        r"Failed to (download and )?build|build backend|Failed to resolve requirements from `build-system",
        "{package} has no wheel for {target} and does not build here",
        "Lock a version that has a wheel, or install what its build asks for.",
    ),
    (
        r"requested Python version|depends on Python|requires Python|current Python version",
        "{package} does not run on Python {version}, which the hosts have",
        "Lock again for it: uv pip compile --python-version {version} …",
    ),
    (
        r"(?P<name>[A-Za-z0-9][\w.-]*) was not found in the (package registry|provided package locations)",
        "{name} is not in the package index",
        "Remove {name} from {lock}, or correct its name. For a package of your own, set UV_INDEX to its index, or name "
        "a wheel's path.",
    ),
    (
        r"was not found|no version of|not found in the package registry|unsatisfiable",
        "{lock} asks for packages that do not exist or do not fit together",
        "Lock again.",
    ),
    (r"", "uv could not install {lock}", "uv says above why it failed."),
)


def explain(stderr: str, lock: Path, version: str, machine: str) -> ReleaseError:
    """Return uv's error in words that name the package and what to do.

    Args:
        stderr: what uv printed.
        lock: the lock that was installed.
        version: the hosts' Python.
        machine: their kind of machine.
    """
    text = stderr.strip()
    clean = re.sub(r"\s+", " ", text)
    named = re.search(r"`([A-Za-z0-9][\w.-]*==[^`\s]+)`", text)
    named = named or re.search(r"\b([A-Za-z0-9][\w.-]*==[\w.+!]+)", text)
    words = {"package": named[1] if named else "a package", "lock": lock.name, "version": version}
    words["target"] = f"Python {version}" if machine == platform.machine() else f"Python {version} on {machine}"
    found, what, advice = next(
        (found, what, advice) for pattern, what, advice in FAILURES if (found := re.search(pattern, clean))
    )
    words |= found.groupdict()
    shown = "\n  ".join(text.splitlines()[-15:])
    return ReleaseError(f"{what.format(**words)} ({lock}).\n  {shown}", advice.format(**words))


@dataclass(frozen=True)
class Installer:
    """Run uv so that it installs into a folder for another machine.

    Args:
        uv: the program.
        version: the hosts' Python.
        platform: the hosts' kind of machine, one of `PLATFORMS`.
        cwd: the folder in which uv runs.
        versions: variables that name the version of a project which would ask its repository.
    """

    uv: str
    version: str
    platform: str
    cwd: Path
    versions: Mapping[str, str] = field(default_factory=dict)

    def run(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run uv.

        Raises:
            ReleaseError: there is no uv.
        """
        keep_out = ("VIRTUAL_ENV", "UV_PYTHON", "UV_TARGET", "UV_PREFIX", "PYTHONPATH", "PYTHONHOME")
        environment = {key: value for key, value in os.environ.items() if key not in keep_out}
        environment |= {"NO_COLOR": "1", "UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1"} | dict(self.versions)
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

        Args:
            requirements: the file that uv reads.
            lock: the lock that the file was made from, for messages.
            site: the folder.
            deps: whether to install what the packages depend on, too.
            offline_first: try uv's cache alone first, so that a warm cache needs no network.

        Raises:
            ReleaseError: a package cannot be had for the hosts' Python.
        """
        arguments = ["pip", "install", "--quiet", "--python", self.interpreter(), "--target", str(site)]
        arguments += ["--python-version", self.version, "--python-platform", PLATFORMS[self.platform]]
        arguments += [] if deps else ["--no-deps"]
        text = requirements.read_text(encoding="utf-8")
        unhashed = (
            any(local.project for local in lock.locals) or "git+" in text
        )  # no hash is possible; others are held to
        arguments += ["--require-hashes"] if lock.form != "pylock" and "--hash=" in text and not unhashed else []
        arguments += ["--requirement", str(requirements)]
        if lock.constraints:
            constraints = requirements.with_name("constraints.txt")
            constraints.write_text(lock.constraints, encoding="utf-8")
            arguments += ["--constraint", str(constraints)]
        attempts = [["--offline"], []] if offline_first else [[], ["--offline"]]
        found = [self.run([*arguments, *extra]) for extra in attempts[:1]]
        if found[0].returncode:
            found.append(self.run([*arguments, *attempts[1]]))
        if found[-1].returncode:
            online = found[-1] if offline_first else found[0]
            raise explain(online.stderr, lock.path, self.version, self.platform)

    def export(self, lock: Lock, source: Path, extras: Sequence[str] = ()) -> str:
        """Return what an application needs of a uv.lock as requirements. Paths are relative to the lock's folder.

        Args:
            lock: the lock.
            source: the application's folder: the lock's folder, or a member of its workspace.
            extras: names of its extras and dependency groups.

        Raises:
            ReleaseError: uv cannot read the lock, or the application has no extra of a name.
        """
        arguments = ["export", "--quiet", "--frozen", "--no-dev", "--no-emit-project", "--no-header", "--offline"]
        arguments += ["--no-editable", "--no-annotate"]
        member = source if (source / "pyproject.toml").is_file() else lock.path.parent
        arguments += extra_options(read_project(member), extras, member)
        done = self.run([*arguments, "--directory", str(member)])
        if done.returncode:
            raise ReleaseError(f"uv cannot read {lock.path}.\n  {done.stderr.strip()[-600:]}", "Run `uv lock` again.")
        return done.stdout


def extra_options(project: Mapping[str, Any], extras: Sequence[str], folder: Path) -> list[str]:
    """Return uv's options for what an application offers beside its dependencies.

    Args:
        project: its pyproject.toml.
        extras: names of its extras and dependency groups.
        folder: the folder of pyproject.toml, for the message.

    Raises:
        ReleaseError: there is neither an extra nor a group of a name.
    """
    offered = {
        "--extra": {canonicalize_name(name) for name in project.get("project", {}).get("optional-dependencies", {})},
        "--group": {canonicalize_name(name) for name in project.get("dependency-groups", {})},
    }
    found: list[str] = []
    for name in extras:
        options = [f"{option}={name}" for option, names in offered.items() if canonicalize_name(name) in names]
        if not options:
            there = ", ".join(sorted(set().union(*offered.values()))) or "none"
            raise ReleaseError(
                f"celery_app_extras names {name}, which {folder}/pyproject.toml does not offer. There are: {there}.",
                "Correct the name, or remove it.",
            )
        found += options
    return found


def install_packages(lock: Lock, extra: Lock | None, request: Request, site: Path, work: Path) -> None:
    """Install a lock's packages, and those of `extra` that it does not bring.

    Args:
        lock: the application's lock.
        extra: the runtime's lock.
        request: for which Python and machine.
        site: the folder to install into.
        work: a folder for files that uv reads.

    Raises:
        ReleaseError: a package cannot be installed, or is built for another Python.
    """
    given, complete = lock, lock.form == "uv"
    installer = Installer(request.uv, request.python_version, request.platform, lock.path.parent)
    if lock.form == "uv":
        reader = Reader(lock.path.parent)
        reader.add(installer.export(lock, request.source, request.extras), lock.path, (), reader.lines)
        given = from_reader(lock.path, reader)
    given = _copied(given, work)
    installer = replace(installer, versions=_versions(given))
    requirements = work / ("pylock.toml" if lock.form == "pylock" else "requirements.txt")
    # uv would compare requires-python with its own Python; check_python and the markers look at the hosts'.
    text = re.sub(r"(?m)^requires-python\s*=.*\n", "", given.text) if lock.form == "pylock" else given.text
    requirements.write_text(text, encoding="utf-8")
    site.mkdir(parents=True)
    installer.install(requirements, given, site, deps=not complete, offline_first=pinned(lock))
    if extra:
        have = installed(site)
        missing = "".join(block for name, block in requirement_blocks(extra.text).items() if name not in have)
        if missing:
            added = work / "platform.txt"
            added.write_text(missing, encoding="utf-8")
            installer.install(added, extra, site, deps=False, offline_first=True)
    _check_wheels(site, request.python_version, request.platform)


def _copied(lock: Lock, work: Path) -> Lock:
    """Return a lock with copies in place of the projects on the controller.

    A build leaves files in a project's folder, and uv would not build a project again whose code alone changed.
    """
    text, found = lock.text, []
    for number, local in enumerate(lock.locals):
        if local.project:
            folder = work / "local" / str(number)
            for entry in read_tree(local.path, local.path.name).entries:
                _write(entry, folder / entry.path)
            text = replace_path(text, local.path, folder / local.path.name)
            local = replace(local, path=folder / local.path.name)
        found.append(local)
    return replace(lock, text=text, locals=tuple(found))


def _write(entry: Entry, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if entry.link is not None:
        path.symlink_to(entry.link)
    else:
        path.write_bytes(entry.data)
        path.chmod(0o755 if entry.executable else 0o644)


def _versions(lock: Lock) -> dict[str, str]:
    """Return variables for projects that ask git for their version: their copies are no work trees."""
    found = {}
    for local in lock.locals:
        with contextlib.suppress(OSError, ValueError):
            name = tomllib.loads((local.path / "pyproject.toml").read_text())["project"]["name"]
            suffix = re.sub(r"[-_.]+", "_", str(name)).upper()
            found[f"SETUPTOOLS_SCM_PRETEND_VERSION_FOR_{suffix}"] = "0+local"
    return found


def _check_wheels(site: Path, version: str, machine: str) -> None:
    """Refuse packages that were built for another Python, or for another kind of machine, than the hosts'."""
    if machine != platform.machine():
        for name, info in installed(site).items():
            if compiled_here(info):
                raise ReleaseError(
                    f"{name} has no wheel for {machine}: it would be compiled for this controller, "
                    f"{platform.machine()}.",
                    f"Lock a version that has a wheel for {machine}, or deploy from a controller that is {machine}.",
                )
    tag = version.replace(".", "")
    for path in site.rglob("*.cpython-*.so"):
        if f".cpython-{tag}-" not in path.name:
            package = path.relative_to(site).parts[0].split(".")[0]
            raise ReleaseError(
                f"{package} has no wheel for Python {version}: what was built here is {path.name}.",
                f"Lock a version that has a wheel for Python {version}.",
            )


def installed(site: Path) -> dict[str, Path]:
    """Return the .dist-info folder of each package in a folder, by normalised name."""
    return {canonicalize_name(path.name.split("-")[0]): path for path in sorted(site.glob("*.dist-info"))}


def compiled_here(info: Path) -> bool:
    """Return whether a package was compiled on this machine: wheels of an index for Linux are tagged manylinux.

    Args:
        info: its .dist-info folder.
    """
    wheel = info / "WHEEL"
    return wheel.is_file() and re.search(r"(?m)^Tag: .*-linux_", wheel.read_text()) is not None


def package_entries(site: Path, top: str, others: Collection[str]) -> Iterator[Entry]:
    """Yield the files of an installed folder as an archive takes them.

    Args:
        site: where uv installed.
        top: their folder in the archive.
        others: the programs of bin/ that are no Python scripts; the scripts belong to the release.
    """
    for path in sorted(site.rglob("*")):
        name = path.relative_to(site).as_posix()
        debris = name == ".lock" or "__pycache__" in path.parts or path.name in ("uv_cache.json", "uv_build.json")
        if debris or (path.is_dir() and not path.is_symlink()):
            continue
        if name.startswith("bin/"):
            if name.removeprefix("bin/") in others:
                yield Entry(name, path.read_bytes(), True)
            continue
        data = path.read_bytes()
        if path.name == "RECORD" and path.parent.name.endswith(".dist-info"):
            data = b"".join(
                line for line in data.splitlines(True) if not re.match(rb"(\.\./)*bin/|.*(uv_cache|/direct_url)", line)
            )
        if path.name == "direct_url.json" and path.parent.name.endswith(".dist-info"):
            continue
        yield Entry(f"{top}/{name}", data, os.access(path, os.X_OK) and path.suffix != ".so")
