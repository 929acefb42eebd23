"""The release is read from where the code was loaded, not from ``current``."""

from __future__ import annotations

from celery_on_hosts.release import release_of


def test_release_of(tmp_path):
    module = tmp_path / "releases" / "abc123" / "runtime" / "celery_on_hosts" / "release.py"
    module.parent.mkdir(parents=True)
    module.touch()
    (tmp_path / "current").symlink_to("releases/abc123")
    assert release_of(module) == "abc123"
    assert release_of(tmp_path / "current" / "runtime" / "celery_on_hosts" / "release.py") == "abc123"
    assert release_of(tmp_path / "elsewhere" / "release.py") is None
