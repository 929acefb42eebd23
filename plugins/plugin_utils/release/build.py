# SPDX-License-Identifier: MIT
"""Build the two archives of a release."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release import cache
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.application import (
    check_module,
    check_python,
    check_syntax,
    code_roots,
    metadata,
    modules,
    read_project,
)
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.archive import (
    Entry,
    digest,
    digest_entries,
    write_archive,
)
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.commands import (
    check_commands,
    own_scripts,
    program_entries,
    read_scripts,
)
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.lock import (
    Lock,
    find_lock,
    locked_names,
    pinned,
    read_lock,
)
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.packages import (
    compiled_here,
    install_packages,
    installed,
    package_entries,
)
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.request import (
    ReleaseError,
    Request,
    Result,
)
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.source import built_from, read_tree

BUILDER = "2"  # part of every id: raise it when the layout of an archive changes
LARGE = 50 * 1024 * 1024  # bytes of an application that are worth a warning


@dataclass(frozen=True)
class Inputs:
    """What goes into a release, read from the controller's files.

    Args:
        request: what to build.
        lock: the packages.
        extra: the runtime's own packages; None for kind 'packages', or where the runtime needs none.
        tree: the files of the application and of the runtime.
        project: the application's pyproject.toml.
        left_out: what of the application's folder is not in the release.
        notes: what is worth a warning about the files.
    """

    request: Request
    lock: Lock
    extra: Lock | None = None
    tree: list[Entry] = field(default_factory=list)
    project: dict[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @cached_property
    def deps_id(self) -> str:
        """Return the name of the packages' archive."""
        request, extra = self.request, self.extra.text if self.extra else ""
        target = [request.kind, request.python_version, request.platform, request.root]
        return digest([BUILDER, *target, *self.lock.identity(), extra, *sorted(request.extras)])

    @cached_property
    def release_id(self) -> str:
        """Return the name of the release."""
        request = self.request
        tree = digest_entries(self.tree)
        return digest([BUILDER, self.deps_id, request.python_version, request.root, request.app, tree])

    def warnings(self) -> list[str]:
        """Return what is worth a warning before anything is built."""
        found = list(self.notes)
        size = sum(len(entry.data) for entry in self.tree)
        if size > LARGE:
            source = self.request.source
            found.append(f"{source} brings {size >> 20} MiB into each release; .gitignore what is not needed.")
        if not pinned(self.lock):
            found.append(f"{self.lock.path} does not pin each version: {_ANOTHER_DAY}")
        return found


_ANOTHER_DAY = "the same deploy may install others another day."


def read_inputs(request: Request) -> Inputs:
    """Read what goes into a release.

    Raises:
        ReleaseError: a file is missing, cannot be read, or says that the application does not run on the hosts.
    """
    if not request.has_app:
        return Inputs(request, read_lock(request.source))
    lock = find_lock(request.source, request.lock)
    if request.extras and lock.form != "uv":
        raise ReleaseError(
            f"celery_app_extras is for a uv.lock, and the lock is {lock.path}, which says itself what is installed.",
            "Remove celery_app_extras, or run `uv lock` and set celery_app_lock to uv.lock.",
        )
    project = read_project(request.source)
    check_python(project, request.source, request.python_version)
    runtime = request.runtime or Path()  # Request.validate refuses a request without a runtime
    own = read_tree(request.source, "app", include=request.include)
    tree = own.entries + read_tree(runtime / "celery_on_hosts", "runtime/celery_on_hosts", git=False).entries
    extra = runtime / "requirements.lock"
    locked = read_lock(extra) if extra.is_file() else None
    return Inputs(request, lock, locked, tree, project, own.left_out, own.warnings)


def build(request: Request) -> Result:
    """Build the two archives of a release, unless the cache has them.

    Raises:
        ReleaseError: the release cannot be built; nothing half-made is left behind.
    """
    request.validate()
    inputs = read_inputs(request)
    result = Result(
        inputs.release_id,
        inputs.deps_id,
        request.output / f"release-{inputs.release_id}.tar.gz",
        request.output / f"deps-{inputs.deps_id}.tar.gz",
        left_out=list(inputs.left_out),
        warnings=inputs.warnings(),
    )
    request.output.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not cache.touch(result):
        with cache.locked(request.output):
            if not cache.touch(result):  # else another build made them meanwhile
                cache.remove_leftovers(request.output)
                _build(inputs, result)
                cache.prune(request.output, request.keep)
                result.changed = True
    _check_commands(inputs, result.deps_archive)
    return result


def _check_commands(inputs: Inputs, deps_archive: Path) -> None:
    """Refuse release commands whose program the release does not have."""
    request = inputs.request
    if request.commands:
        scripts = json.loads(cache.manifest(deps_archive).read_text())["scripts"] | own_scripts(inputs.project)
        files = {entry.path.removeprefix("app/") for entry in inputs.tree if entry.path.startswith("app/")}
        check_commands(request.commands, scripts.keys(), files, request.source)


def _build(inputs: Inputs, result: Result) -> None:
    """Check the application, and write the archives that are not there."""
    request, manifest = inputs.request, cache.manifest(result.deps_archive)
    if request.has_app:
        files = (entry for entry in inputs.tree if entry.path.startswith("app/"))
        result.warnings += check_syntax(files, request.python_version, request.source)
    if not (result.deps_archive.is_file() and manifest.is_file()):
        result.warnings += _build_packages(inputs, result.deps_archive, manifest)
    if request.has_app:
        own = modules(inputs.tree, _roots(inputs))
        packages = json.loads(manifest.read_text())["modules"]
        check_module(request.app, own, packages, request.source, inputs.tree)
    scripts = json.loads(manifest.read_text())["scripts"] if request.has_app else {}
    write_archive(result.release_archive, inputs.release_id, _release_entries(inputs, scripts))


def _roots(inputs: Inputs) -> list[str]:
    return code_roots(inputs.tree, inputs.request.app, inputs.project)


def _build_packages(inputs: Inputs, archive: Path, manifest: Path) -> list[str]:
    """Write the packages' archive and the list of what is in it, and return what is worth a warning."""
    request, lock, extra = inputs.request, inputs.lock, inputs.extra
    work = Path(tempfile.mkdtemp(prefix=cache.WORK, dir=request.output))
    try:
        target = work / "site"
        install_packages(lock, extra, request, target, work)
        found = installed(target)
        packages = {name: path.name.removesuffix(".dist-info").split("-")[1] for name, path in found.items()}
        if request.has_app and "celery" not in packages:
            raise ReleaseError(f"{lock.path} does not bring celery.", "Add celery to your application's requirements.")
        scripts = read_scripts(target / "bin") if request.has_app else {}
        others = {name for name, text in scripts.items() if text is None}
        entries = list(package_entries(target, request.site, others))
        names = sorted(modules(entries, [request.site]))
        said = {"packages": packages, "modules": names, "scripts": scripts}
        manifest.write_text(json.dumps(said, indent=1) + "\n")
        write_archive(archive, inputs.deps_id, entries)
        compiled = [name for name, path in found.items() if compiled_here(path)]
    finally:
        shutil.rmtree(work, ignore_errors=True)
    notes = []
    unlisted = sorted(packages.keys() - locked_names(lock) - (locked_names(extra) if extra else set()))
    if unlisted and pinned(lock) and lock.named:
        notes.append(f"{lock.path} does not list {', '.join(unlisted)}: {_ANOTHER_DAY}")
    if compiled:
        notes.append(f"Compiled on this controller, for want of a wheel, so try them on a host: {', '.join(compiled)}.")
    return notes


def _release_entries(inputs: Inputs, scripts: Mapping[str, str | None]) -> Iterator[Entry]:
    """Yield the files of a release's archive.

    Args:
        inputs: what goes into the release.
        scripts: the programs that its packages bring.
    """
    request, site = inputs.request, inputs.request.site
    version = f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {request.python_version}\n"
    yield from inputs.tree
    yield Entry("bin/python", link="/usr/bin/python3")
    yield Entry("bin/python3", link="python")
    if request.has_app:
        yield Entry(f"bin/python{request.python_version}", link="python")
        folder, packages = f"{request.root}/releases/{inputs.release_id}", f"../../../deps/{inputs.deps_id}"
        yield from program_entries({**scripts, **own_scripts(inputs.project)}, folder, packages)
    yield Entry("pyvenv.cfg", version.encode())
    yield Entry(f"{site}/release.pth", _path_file(inputs).encode())
    yield Entry("release.json", _record(inputs).encode())
    for entry in metadata(inputs.project, inputs.release_id):
        yield Entry(f"{site}/{entry.path}", entry.data)


def _path_file(inputs: Inputs) -> str:
    """Return the .pth file that puts packages and code on the path.

    Its paths are absolute: what a process imports late still comes from its own release when `current` has moved.
    """
    request = inputs.request
    folder = f"{request.root}/releases/{inputs.release_id}"
    # addsitedir, because packages may bring .pth files of their own
    lines = [f"import site; site.addsitedir('{request.root}/deps/{inputs.deps_id}/{request.site}')"]
    if request.has_app:
        lines += [f"{folder}/{name}" for name in (*_roots(inputs), "runtime")]
    return "\n".join(lines) + "\n"


def _record(inputs: Inputs) -> str:
    """Return release.json, which says what a release is."""
    request = inputs.request
    record = {
        "release_id": inputs.release_id,
        "deps_id": inputs.deps_id,
        "kind": request.kind,
        "app": request.app or None,
        "python": request.python_version,
        "platform": request.platform,
        "built_from": built_from(request.source if request.has_app else request.source.parent),
    }
    return json.dumps(record, indent=2) + "\n"
