"""Which Debian packages a host needs, and which of these it lacks."""

from __future__ import annotations

from ansible_collections.celery_on_hosts.platform.plugins.modules.apt_lists import unknown
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.services import missing_packages

from tests.unit.rendering import Platform

DPKG = """\
redis-server installed
libmagic1t64 installed libmagic1 (= 1:5.46-5)
exim4-daemon-light installed default-mta, mail-transport-agent
ffmpeg config-files
"""
SIMULATED = """\
E: Unable to locate package libmagik1
E: Package 'libssl1.1' has no installation candidate
E: Unable to locate package ffmpeq
"""


def test_what_another_package_provides_is_not_missing() -> None:
    wanted = ["redis-server", "libmagic1", "mail-transport-agent", "ffmpeg", "libpq5"]
    assert missing_packages(DPKG, wanted) == ["ffmpeg", "libpq5"]
    assert missing_packages("", ["ffmpeg"]) == ["ffmpeg"]


def test_names_that_apt_does_not_have() -> None:
    assert unknown(SIMULATED) == ["libmagik1", "libssl1.1", "ffmpeq"]
    assert unknown("E: Could not get lock /var/lib/dpkg/lock-frontend") == []


def test_the_applications_packages_are_for_the_applications_hosts() -> None:
    groups = {"brokers": ["a"], "results": ["a"], "workers": ["b"]}
    service = Platform(groups=groups, host="a", celery_packages=["ffmpeg", "redis-server"]).described()
    worker = Platform(groups=groups, host="b", celery_packages=["ffmpeg", "redis-server"]).described()
    assert service["application_packages"] == []
    assert "ffmpeg" not in service["packages"]
    assert worker["application_packages"] == ["ffmpeg", "redis-server"]
    assert worker["packages"] == ["ffmpeg", "redis-server", "supervisor"]
    assert Platform(groups=groups, host="b").described()["packages"] == ["supervisor"]
