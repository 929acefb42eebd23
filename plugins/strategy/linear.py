# SPDX-License-Identifier: MIT
"""Mitogen's strategy, without what costs more than it brings."""

from __future__ import annotations

import ansible_mitogen.affinity
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
  - It leaves it to the kernel which core a process runs on. Mitogen's own strategy pins each, and with it all that a
    task starts on the controller, for good. Of two cores that leaves one to a build, and to a lab host for its life.
author:
  - Celery on Hosts
"""

# Mitogen has no settings for these.
mitogen.minify.minimize_source = mitogen.core.to_text
ansible_mitogen.affinity.policy = ansible_mitogen.affinity.Policy()

Linear = ansible_mitogen.loaders.strategy_loader.get("linear", class_only=True)


class StrategyModule(ansible_mitogen.strategy.StrategyMixin, Linear):  # type: ignore[misc, valid-type]
    """What `strategy = celery_on_hosts.platform.linear` names."""
