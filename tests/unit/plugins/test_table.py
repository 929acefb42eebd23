"""Columns are aligned."""

from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.table import table


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert table([("HOST", "STATUS", "IS"), ("a", "unhealthy", ""), ("longer", "-", "x")]) == [
        "HOST    STATUS     IS",
        "a       unhealthy",
        "longer  -          x",
    ]
