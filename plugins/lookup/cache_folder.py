# SPDX-License-Identifier: MIT
"""Ansible lookup: the folder that keeps archives of releases between runs."""

from __future__ import annotations

DOCUMENTATION = r"""
name: cache_folder
short_description: The folder on the controller that keeps archives of releases between runs
description:
  - In a clone it is the clone's C(.cache). An installed collection may belong to another user, and is replaced by the
    next version, so there it is C(celery_on_hosts) below Ansible's home.
options: {}
author:
  - Celery on Hosts
"""

EXAMPLES = r"""
- name: Show where archives are
  ansible.builtin.debug:
    msg: "{{ lookup('celery_on_hosts.platform.cache_folder') }}"
"""

RETURN = r"""
_raw:
  description: The absolute path, a list of one.
  type: list
  elements: str
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.plugins.lookup import LookupBase

COLLECTION = Path(__file__).resolve().parents[2]


class LookupModule(LookupBase):
    """Ansible's entry point."""

    def run(self, terms: Sequence[Any], variables: Any = None, **kwargs: Any) -> list[str]:
        """Return the folder's path."""
        clone = (COLLECTION / ".git").exists()
        return [str(COLLECTION / ".cache" if clone else Path(constants.ANSIBLE_HOME) / "celery_on_hosts")]
