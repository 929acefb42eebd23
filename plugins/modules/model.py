# SPDX-License-Identifier: MIT
"""Documentation of the action plugin of this name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: model
short_description: Say what the inventory means for each host
description:
  - Derives from the groups, from the variables C(celery_…) and from the gathered facts which services and programs each
    host runs, where each service listens, which accounts and files there are. Playbooks fill the roles' variables from
    the result.
  - Makes the secrets that the inventory does not have yet. The result holds secrets. Use it with C(no_log).
  - Runs on the controller alone, after M(celery_on_hosts.platform.preflight). Use it with C(run_once).
author: Celery on Hosts
options: {}
"""

EXAMPLES = r"""
- name: Say what the inventory means, passwords included
  celery_on_hosts.platform.model:
  run_once: true
  no_log: true
  register: model
"""

RETURN = r"""
hosts:
  description: By host, its fact C(platform).
  returned: always
  type: dict
outdated_credentials:
  description: The hosts whose services do not accept the inventory's credentials, as far as is known.
  returned: always
  type: list
  elements: str
"""
