"""The lab's image is made whole or not at all."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

IMAGE = Path(__file__).parents[2] / "roles/lab/files/image.sh"
PODMAN = """#!/bin/sh
echo "$*" >>"$CALLS"
case $1$2 in
  imageinspect) exit 1 ;;
  import*) cat >/dev/null ;;
esac
"""


@pytest.mark.parametrize("code", [0, 1])
def test_half_an_archive_makes_no_image(tmp_path: Path, code: int) -> None:
    programs = {"podman": PODMAN, "mmdebstrap": f"#!/bin/sh\necho half\nexit {code}\n", "flock": "#!/bin/sh\n"}
    for name, text in programs.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    lock = tmp_path / "lock"
    script = tmp_path / "image.sh"
    script.write_text(IMAGE.read_text().replace("/run/lock/celery-on-hosts-image", str(lock)))
    calls = tmp_path / "calls"
    done = subprocess.run(
        ["bash", str(script), "localhost/test", "13", "admin"],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "CALLS": str(calls)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    made = calls.read_text().splitlines()
    tagged = "tag localhost/test:13-part localhost/test:13" in made
    assert tagged == (code == 0), "only a whole archive gets the image's name"
    assert any(call.startswith("import ") and call.endswith("localhost/test:13-part") for call in made)
    assert ("image rm --force localhost/test:13-part" in made) == (code == 1)
