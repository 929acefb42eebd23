"""Archives are kept while they may be needed."""

from __future__ import annotations

import os
from dataclasses import replace

from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.build import build
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.release.request import Request

from tests.unit.plugins.release.support import TASKS


def test_interrupted_build_leaves_nothing_that_counts(request_: Request) -> None:
    first = build(request_)
    first.release_archive.unlink()
    left = request_.output / ".build-left"
    left.mkdir()
    part = request_.output / ".new-half"
    part.write_text("half")
    assert build(request_).changed
    assert not left.exists()
    assert not part.exists()


def test_old_archives_go(request_: Request) -> None:
    for number in range(4):
        (request_.source / "tasks.py").write_text(f"{TASKS}# {number}\n")
        last = build(replace(request_, keep=2))
        os.utime(last.release_archive, (number, number))
    assert len(list(request_.output.glob("release-*.tar.gz"))) == 2
    assert last.release_archive.exists()


def test_archives_that_were_just_used_stay(request_: Request) -> None:
    """Another deployment may be about to ship them."""
    for number in range(4):
        (request_.source / "tasks.py").write_text(f"{TASKS}# {number}\n")
        build(replace(request_, keep=2))
    assert len(list(request_.output.glob("release-*.tar.gz"))) == 4
