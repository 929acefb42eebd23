"""No secret is where others can see it. Late, when everything has run and logged, and before the host starts anew."""

from __future__ import annotations

import pytest

from tests.hosts.support import SECRETS, Site

pytestmark = [pytest.mark.late(90), pytest.mark.unless("plain")]

PATTERNS = f"/usr/bin/sed s/[^=]*=// {SECRETS}"


def test_every_secret_is_its_own_and_long(site: Site) -> None:
    """None is a default, none is used twice."""
    secrets = site.platform.secrets
    assert len(set(secrets.values())) == len(secrets) >= 4
    assert {name for name, secret in secrets.items() if len(secret) < 20} == set()


def test_secrets_are_not_for_other_users_of_the_controller(site: Site) -> None:
    """Nor for git: the folder is ignored."""
    files = list((site.platform.inventory / "secrets").iterdir())
    assert {path.name for path in files if path.stat().st_mode & 0o077} == set()


@pytest.mark.usefixtures("secrets")
def test_no_process_has_one_among_its_arguments(site: Site) -> None:
    """Which everybody may read."""
    said = site.run(f"{PATTERNS} | grep -lF -f - /proc/[0-9]*/cmdline", status=None)
    assert [site.run(f"tr '\\0' ' ' <{path}") for path in said.split() if path.endswith("cmdline")] == []


@pytest.mark.usefixtures("secrets")
def test_no_log_has_one(site: Site) -> None:
    """Neither files nor the journal, whoever may read them."""
    assert site.run(f"{PATTERNS} | grep -rlF -f - /var/log --exclude-dir=journal", status=1) == ""
    assert (
        site.run(f"{PATTERNS} >{SECRETS}.only; journalctl --no-pager -o cat | grep -F -f {SECRETS}.only", status=1)
        == ""
    )
    site.run(f"rm {SECRETS}.only")


@pytest.mark.usefixtures("secrets")
def test_no_file_that_others_can_read_has_one(site: Site) -> None:
    """Looked for as somebody else, in all places where something of ours could be."""
    places = "/etc /opt /var /run /usr/local /tmp /home /srv"
    readable = f"runuser -u nobody -- find {places} -xdev -type f -readable -size -20M -print0 2>/dev/null"
    found = site.run(
        f"cd /; {PATTERNS} >{SECRETS}.only; {readable} | xargs -0 grep -lF -f {SECRETS}.only --", status=None
    )
    site.run(f"rm {SECRETS}.only")
    assert found == ""
    number = int(site.run(f"cd /; {readable} | tr -dc '\\0' | wc -c"))
    assert number > 1000, "something was looked at"
