# SPDX-License-Identifier: MIT
"""Mitogen's strategy, which does not spend half a second of each run on taking comments out of its own code."""

from __future__ import annotations

import ansible_mitogen.loaders
import ansible_mitogen.strategy
import mitogen.core
import mitogen.minify

DOCUMENTATION = r"""
name: linear
short_description: Runs tasks as ansible.builtin.linear does, by Mitogen, in one Python process a host
description:
  - It sends its modules to the hosts as they are. Mitogen's own strategy tokenizes them first, to make them shorter,
    which costs the controller more than it saves on any network but the slowest.
author:
  - Celery on Hosts
"""

# In mitogen.master.ModuleResponder there is no setting for it.
mitogen.minify.minimize_source = mitogen.core.to_text

Linear = ansible_mitogen.loaders.strategy_loader.get("linear", class_only=True)


class StrategyModule(ansible_mitogen.strategy.StrategyMixin, Linear):  # type: ignore[misc, valid-type]
    """What `strategy = celery_on_hosts.platform.linear` names."""
