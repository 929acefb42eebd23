"""The strategy replaces internals of tested Mitogen versions only, and a task may use every core."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import CodeType

import ansible.module_utils
import pytest
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.known_imports import Import, KnownImports
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.mitogen_internals import unfit
from mitogen.imports import codeobj_imports

INTERNALS = "ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.mitogen_internals"
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


def reason(before: str = "") -> str:
    """Return what `unfit` says in a process of its own, after some code."""
    code = f"{before}\nfrom tests.unit import conftest\nfrom {INTERNALS} import unfit\nprint(unfit())"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
    return done.stdout.strip()


def test_the_locked_versions_are_tested_and_have_what_is_replaced() -> None:
    """When this fails after `make upgrade`: mitogen_internals.py says how to accept another version."""
    assert reason() == ""


@pytest.mark.parametrize(
    ("mitogen", "core", "words"),
    [
        ("0.3.540", "2.19.14", "mitogen 0.3.540 was not tested with this platform (tested: 0.3.54)"),
        ("0.3.54", "2.20.0", "ansible-core 2.20.0 was not tested with this platform (tested: 2.19)"),
    ],
)
def test_another_version_is_not_touched(mitogen: str, core: str, words: str) -> None:
    assert unfit({"mitogen": mitogen, "ansible-core": core}) == words


@pytest.mark.parametrize(
    ("before", "words"),
    [
        ("import mitogen.minify as m; del m.minimize_source", "changed inside: mitogen.minify.minimize_source is not"),
        ("import mitogen.minify as m; m.minimize_source = lambda a, b: a", "mitogen.minify.minimize_source is not"),
        ("import sys; sys.modules['mitogen'] = None", "Mitogen cannot be imported"),
    ],
)
def test_what_mitogen_lacks_is_named(before: str, words: str) -> None:
    assert words in reason(before)


def test_without_a_tested_mitogen_tasks_run_by_ansibles_own_strategy(tmp_path: Path) -> None:
    (tmp_path / "mitogen").mkdir()
    (tmp_path / "mitogen/__init__.py").write_text("__version__ = (9, 9)\n")
    said = play(tmp_path, PYTHONPATH=str(tmp_path))
    assert "mitogen 9.9 was not tested" in " ".join(said.split())
    assert "cores" in said


def play(folder: Path, **environment: str) -> str:
    """Run the play with Ansible's home in a folder, and return its output."""
    (folder / "play.yml").write_text(json.dumps(PLAY))
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", "localhost,", folder / "play.yml"],
        cwd=ROOT,
        env=os.environ
        | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_HOME": str(folder / "home")}
        | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_what_a_task_starts_may_use_every_core(tmp_path: Path) -> None:
    """A lab host, for one, is started by a task."""
    said = play(tmp_path)
    assert f"cores {sorted(os.sched_getaffinity(0))}" in said


def test_what_mitogen_looked_up_is_known_to_the_next_run(tmp_path: Path) -> None:
    def known() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("home/mitogen-imports/*/*")}

    play(tmp_path)
    first = known()
    assert len(first) > 50, "one of each source that it sends"
    assert "cores" in play(tmp_path)
    assert known() == first


def real(source: str | bytes) -> list[Import]:
    """Return the imports that Mitogen finds in a source."""
    return list(codeobj_imports(compile(source, "x", "exec", dont_inherit=True)))


def test_known_imports_are_what_mitogen_would_find(tmp_path: Path) -> None:
    known = KnownImports(tmp_path / "known", codeobj_imports)
    sources = [path.read_bytes() for path in Path(ansible.module_utils.__file__).parent.rglob("*.py")]
    for _ in ("looked up", "read"):
        assert [known.of(known.compile(source)) for source in sources] == [real(source) for source in sources]


def test_a_source_is_looked_at_once_and_again_when_it_changes(tmp_path: Path) -> None:
    looked = []

    def of_code(code: CodeType) -> list[Import]:
        looked.append(code)
        return list(codeobj_imports(code))

    for source, times in (("import a", 1), ("import a", 1), ("from . import b", 2), ("import a", 2)):
        known = KnownImports(tmp_path, of_code)
        assert known.of(known.compile(source, "name", "exec")) == real(source)
        assert len(looked) == times


@pytest.mark.parametrize("left", [b"", b"[[0, ", b"\xff"])
def test_a_file_that_cannot_be_read_is_written_again(tmp_path: Path, left: bytes) -> None:
    known = KnownImports(tmp_path, codeobj_imports)
    known.of(b"import a")
    (file,) = tmp_path.iterdir()
    file.write_bytes(left)
    assert known.of(b"import a") == real("import a")
    assert json.loads(file.read_bytes()) == [[0, "a", []]]


def test_no_folder_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert KnownImports(tmp_path / "file/below", codeobj_imports).of(b"import a") == real("import a")
