"""Ansible finds the collection, here as in a run."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
os.environ["ANSIBLE_CONFIG"] = str(ROOT / "ansible.cfg")

from ansible.plugins.loader import init_plugin_loader  # noqa: E402  # it reads the settings as it is imported

init_plugin_loader([str(ROOT / ".ansible" / "collections")])
