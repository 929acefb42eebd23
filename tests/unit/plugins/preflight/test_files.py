"""Files that the controller ships: what is wrong is refused in the right words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celery_on_hosts.platform.plugins.action.preflight import unreadable_files
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.preflight.check import check

from tests.unit.plugins.preflight.platforms import platform, words

PLACE = {"src": "a", "dest": "/srv/a"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ("a", ["celery_files", "a list of entries with src and dest"]),
        ([{"src": "a"}], ["celery_files: a", "no dest", "Add dest."]),
        ([{"dest": "/srv/a"}], ["celery_files: /srv/a", "no src"]),
        ([{**PLACE, "dest": "srv/a"}], ["celery_files: srv/a: dest", "an absolute path"]),
        ([{**PLACE, "dest": "/srv/../etc/a"}], ["an absolute path"]),
        ([{**PLACE, "dest": "/etc/celery/a"}], ["below /etc/celery", "/srv/APPLICATION"]),
        ([{**PLACE, "dest": "/opt/celery/current/app/a"}], ["below /opt/celery", "celery_app_include"]),
        ([{**PLACE, "mode": 640}], ["celery_files: /srv/a: mode", "640", "in quotes"]),
        ([{**PLACE, "owner": "a b"}], ["celery_files: /srv/a: owner"]),
        ([{**PLACE, "read_by": ["celery-lwo"]}], ["celery-lwo", "Did you mean celery-low?"]),
        ([{**PLACE, "mod": "0600"}], ["the key mod", "Did you mean mode?"]),
        ([PLACE, PLACE], ["/srv/a, twice"]),
    ],
)
def test_files(files: Any, expected: list[str]) -> None:
    text = words(platform(celery_files=files))
    for word in expected:
        assert word in text
    assert "the inventory has 1 problem." in text


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("")
    (tmp_path / "folder").mkdir()
    entries = [{"src": name, "dest": f"/srv/{name}"} for name in ("there", "folder", "gone")]
    assert unreadable_files(entries, tmp_path) == {"gone": f"{tmp_path}/gone: No such file or directory"}
    state = platform(celery_files=[{"src": "gone", "dest": "/srv/gone"}])
    state["unreadable"] = unreadable_files(entries, tmp_path)
    assert "celery_files: /srv/gone: src" in words(state)
    assert f"gone: {tmp_path}/gone: No such file or directory" in words(state)


def test_a_file_that_is_removed_needs_no_source() -> None:
    assert check(platform(celery_files=[{"dest": "/srv/a", "state": "absent"}])) == []
