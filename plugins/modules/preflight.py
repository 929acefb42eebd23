# SPDX-License-Identifier: MIT
"""Documentation of the action plugin of this name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight
short_description: Check hosts and variables before anything is touched
description:
  - Looks at the inventory's groups, at the variables C(celery_…) of each host, at the facts that were gathered, and at
    the application's folder and lock file on the controller.
  - Fails once with all that is wrong, each with what was found, what is allowed and what to do.
  - Runs on the controller alone. Use it with C(run_once).
author: Celery on Hosts
options:
  known:
    description: The names of all variables C(celery_…). Others are refused, as typing errors. Empty refuses none.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Check what the user has set
  celery_on_hosts.platform.preflight:
    known: "{{ lookup('ansible.builtin.file', role_path ~ '/defaults/main.yml') | from_yaml | list }}"
  run_once: true
"""

RETURN = r"""
problems:
  description: What is wrong, each as text.
  returned: always
  type: list
  elements: str
weaknesses:
  description: What is allowed but not wise, each as text, without what C(celery_accept) names.
  returned: where there is any
  type: list
  elements: str
"""
