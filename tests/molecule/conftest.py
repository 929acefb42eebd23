"""Starts the scenarios that a run asks for in the background, while the other tests run."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.molecule.scenarios import SCENARIOS, Scenarios

AT_ONCE = int(os.environ.get("SCENARIOS_AT_ONCE") or os.cpu_count() or 1)
RUNNING = pytest.StashKey[Scenarios]()


def pytest_configure(config: pytest.Config) -> None:
    """Keep the terminal: while a test runs, pytest captures what is printed, by background threads too."""
    terminal = os.fdopen(os.dup(1), "w", encoding="utf-8")
    config.stash[RUNNING] = Scenarios(AT_ONCE, terminal)


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Iterator[None]:
    """Start the scenarios before the first test, and end them with the run."""
    asked = {item.name for item in session.items}
    scenarios = session.config.stash[RUNNING]
    if not session.config.option.collectonly:
        scenarios.start(name for name in SCENARIOS if f"test_scenario[{name}]" in asked)
    try:
        return (yield)
    finally:
        scenarios.end()


@pytest.fixture(scope="session")
def scenarios(pytestconfig: pytest.Config) -> Scenarios:
    """The scenarios of this run."""
    return pytestconfig.stash[RUNNING]
