"""Hosts, and which tests a scenario's inventory calls for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import testinfra

from tests.hosts.support import SECRETS, Platform, Site

PLATFORM = pytest.StashKey[Platform]()


def pytest_configure(config: pytest.Config) -> None:
    """Read the inventory."""
    inventory = config.getoption("ansible_inventory")
    if inventory:
        variables = _host(config, "workers").ansible.get_variables()
        config.stash[PLATFORM] = Platform(Path(inventory).resolve(), variables)


def _host(config: pytest.Config, name: str) -> Any:
    inventory = config.getoption("ansible_inventory")
    return testinfra.get_hosts([f"ansible://{name}"], ansible_inventory=inventory, sudo=True)[0]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Ask each queue and each program that the inventory has."""
    platform = metafunc.config.stash.get(PLATFORM, None)
    for name in ("queue", "program"):
        if platform and name in metafunc.fixturenames:
            metafunc.parametrize(name, getattr(platform, f"{name}s"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what the inventory has not, and put what disturbs others last."""
    platform = config.stash.get(PLATFORM, None)
    if platform is None:
        return

    def wanted(item: pytest.Item) -> bool:
        return all(platform.features.issuperset(mark.args) for mark in item.iter_markers("needs")) and not any(
            platform.features.issuperset(mark.args) for mark in item.iter_markers("unless")
        )

    config.hook.pytest_deselected(items=[item for item in items if not wanted(item)])
    order = {item: next((mark.args[0] for mark in item.iter_markers("late")), 0) for item in items}
    items[:] = sorted(filter(wanted, items), key=lambda item: order[item])


@pytest.fixture(scope="session")
def platform(pytestconfig: pytest.Config) -> Platform:
    """What the scenario's inventory asks for."""
    return pytestconfig.stash[PLATFORM]


@pytest.fixture(scope="session")
def site(pytestconfig: pytest.Config, platform: Platform) -> Site:
    """The host that runs everything."""
    return Site(platform, _host(pytestconfig, "workers"))


@pytest.fixture(scope="session")
def probe(pytestconfig: pytest.Config) -> Any:
    """Another host of the same network, on which nothing of ours runs."""
    return _host(pytestconfig, "probe")


@pytest.fixture(scope="session")
def secrets(site: Site) -> Iterator[str]:
    """A file on the host with every secret."""
    site.take_secrets()
    yield SECRETS
    site.run(f"rm -f {SECRETS}")
