"""The collection is whole when it is built, and works from a playbook outside of the clone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible.plugins.loader import lookup_loader

ROOT = Path(__file__).parents[2]


class Elsewhere:
    """A folder outside of the clone with the built collection installed, and nothing of the clone's settings.

    Args:
        place: the folder, empty.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.root = place / "collections/ansible_collections/celery_on_hosts/platform"
        self.run("ansible-galaxy", "collection", "build", "--output-path", str(place), str(ROOT))
        (archive,) = place.glob("*.tar.gz")
        target = ["--collections-path", str(place / "collections")]
        self.run("ansible-galaxy", "collection", "install", "--offline", "--no-deps", *target, str(archive))

    def run(self, program: str, *arguments: str) -> str:
        """Run one of Ansible's programs there, and return what it said."""
        ours = {"ANSIBLE_COLLECTIONS_PATH": str(self.place / "collections"), "ANSIBLE_HOME": str(self.place / "home")}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        done = subprocess.run(
            [str(Path(sys.executable).with_name(program)), *arguments],
            cwd=self.place,
            env=kept | ours,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Elsewhere:
    """Build the collection and install it."""
    return Elsewhere(tmp_path_factory.mktemp("elsewhere"))


def test_what_is_built_has_all_that_a_deployment_reads_and_no_caches(elsewhere: Elsewhere) -> None:
    files = {path.relative_to(elsewhere.root).as_posix() for path in elsewhere.root.rglob("*") if path.is_file()}
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    ours = {name for name in listed if name and (ROOT / name).exists()}
    deployed = {
        name for name in ours if name.startswith(("app/", "meta/", "playbooks/", "plugins/", "roles/", "runtime/"))
    }
    assert deployed <= files
    assert files - ours == {"MANIFEST.json", "FILES.json"}


def test_its_playbook_is_imported_by_name(elsewhere: Elsewhere) -> None:
    (elsewhere.place / "deploy.yml").write_text("- ansible.builtin.import_playbook: celery_on_hosts.platform.site\n")
    said = elsewhere.run("ansible-playbook", "-i", "localhost,", "--list-tasks", "deploy.yml")
    assert "platform : Build the application's release" in said


def test_archives_are_kept_in_the_clone_or_below_ansibles_home(elsewhere: Elsewhere) -> None:
    assert lookup_loader.get("celery_on_hosts.platform.cache_folder").run([]) == [str(ROOT / ".cache")]
    said = elsewhere.run(
        *("ansible", "-i", "localhost,", "localhost", "-m", "ansible.builtin.debug", "-a"),
        "msg={{ lookup('celery_on_hosts.platform.cache_folder') }}",
    )
    assert f"{elsewhere.place}/home/celery_on_hosts" in said
