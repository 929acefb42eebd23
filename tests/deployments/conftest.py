"""The same host as in tests/hosts, still blank, and a way to deploy to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deployments.support import Deployments, Watch
from tests.hosts.conftest import PLATFORM, platform, pytest_configure, site
from tests.hosts.support import Platform, Site

__all__ = ["PLATFORM", "deployments", "platform", "pytest_configure", "site", "watch"]


@pytest.fixture(scope="session")
def deployments(platform: Platform) -> Deployments:
    """Deploys to the scenario's hosts."""
    return Deployments(platform.inventory)


@pytest.fixture(scope="session")
def watch(site: Site) -> Iterator[Watch]:
    """Sees the arguments of each process that runs on the host, from before the first deployment."""
    watching = Watch(site)
    yield watching
    watching.end()
