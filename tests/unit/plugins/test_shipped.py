"""Files of the controller: where they go, and what restarts when they change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.shipped import (
    content_digest,
    restart_digest,
    shipped_files,
)

from tests.unit.rendering import Platform


@pytest.fixture(autouse=True)
def fresh() -> None:
    """Read each file again, as the next deployment does."""
    content_digest.cache_clear()


def test_a_file_is_for_the_application_to_read(tmp_path: Path) -> None:
    (file,) = shipped_files([{"src": "key.pem", "dest": "/srv/shop/key.pem"}], tmp_path)
    assert file.as_dict() == {
        "src": f"{tmp_path}/key.pem", "dest": "/srv/shop/key.pem", "owner": "root", "group": "celery", "mode": "0640",
    }  # fmt: skip
    (gone,) = shipped_files([{"dest": "/srv/shop/key.pem", "state": "absent"}], tmp_path)
    assert gone.as_dict() == {"dest": "/srv/shop/key.pem", "state": "absent"}


def test_a_folder_stands_for_its_files(tmp_path: Path) -> None:
    (tmp_path / "models/de").mkdir(parents=True)
    (tmp_path / "models/a.bin").write_bytes(b"a")
    (tmp_path / "models/de/b.bin").write_bytes(b"b")
    files = shipped_files([{"src": "models", "dest": "/srv/models/", "mode": "0644"}], tmp_path)
    assert [(file.dest, file.mode) for file in files] == [
        ("/srv/models/a.bin", "0644"),
        ("/srv/models/de/b.bin", "0644"),
    ]


def configurations(folder: Path, **variables: Any) -> dict[str, str]:
    """Return the configuration of each program; a program restarts when its configuration changes."""
    content_digest.cache_clear()
    workers = [{"name": "celery", "queues": ["celery"]}, {"name": "io", "queues": ["io"]}]
    platform = Platform(celery_workers=workers, **variables)
    platform.magic["inventory_dir"] = str(folder)
    celery = platform.described()["celery"]
    return {program["name"]: celery["digest"] + program["suffix"] for program in celery["programs"]}


def test_a_changed_file_restarts_what_reads_it(tmp_path: Path) -> None:
    source = tmp_path / "file"
    every = {"celery_files": [{"src": str(source), "dest": "/srv/a"}]}
    one = {"celery_files": [{"src": str(source), "dest": "/srv/a", "read_by": ["celery-io"]}]}
    none = {"celery_files": [{"src": str(source), "dest": "/srv/a", "read_by": []}]}
    source.write_text("old")
    before = [configurations(tmp_path, **variables) for variables in (every, one, none)]
    source.write_text("new")
    after = [configurations(tmp_path, **variables) for variables in (every, one, none)]
    changed = [{name for name in old if old[name] != new[name]} for old, new in zip(before, after, strict=True)]
    assert changed == [{"celery", "celery-io", "celerybeat", "web"}, {"celery-io"}, set()]
    assert configurations(tmp_path) == after[2]  # nothing restarts where there are no files


def test_owner_and_mode_count_too(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    entry = {"src": "file", "dest": "/srv/a"}
    digests = {restart_digest(shipped_files([{**entry, **more}], tmp_path)) for more in ({}, {"mode": "0600"})}
    assert len(digests) == 2
