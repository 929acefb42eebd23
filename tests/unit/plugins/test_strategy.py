"""The strategy: what it changes of Mitogen's is still there to be changed, and a task may use every core."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PLAY = [
    {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "tasks": [
            {
                "ansible.builtin.command": "python3 -c 'import os; print(sorted(os.sched_getaffinity(0)))'",
                "register": "a",
            },
            {"ansible.builtin.debug": {"msg": "cores {{ a.stdout }}"}},
        ],
    }
]


def test_mitogen_has_what_is_replaced() -> None:
    """To set a name that nothing reads any more would change nothing, and nobody would hear of it."""
    names = "ansible_mitogen.planner._load_collections, mitogen.minify.minimize_source, ansible_mitogen.affinity.policy"
    code = f"import ansible_mitogen.planner, ansible_mitogen.affinity, mitogen.minify; print([{names}])"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_what_a_task_starts_may_use_every_core(tmp_path: Path) -> None:
    """A lab host is started by a task."""
    (tmp_path / "play.yml").write_text(json.dumps(PLAY))
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", "localhost,", tmp_path / "play.yml"],
        cwd=ROOT,
        env=os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"cores {sorted(os.sched_getaffinity(0))}" in done.stdout, done.stdout + done.stderr
