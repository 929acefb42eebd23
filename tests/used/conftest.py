"""The same hosts and the same way to deploy as in tests/deployments."""

from tests.deployments.conftest import PLATFORM, deployments, platform, pytest_configure, site

__all__ = ["PLATFORM", "deployments", "platform", "pytest_configure", "site"]
