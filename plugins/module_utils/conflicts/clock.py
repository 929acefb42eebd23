# SPDX-License-Identifier: MIT
"""Read whether something keeps a host's clock right. Standard library only."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

from ansible_collections.celery_on_hosts.platform.plugins.module_utils.conflicts.host import Host

UNSYNCHRONISED = 0x40  # STA_UNSYNC, adjtimex(2)
TIME_SERVICES = ("systemd-timesyncd", "chrony", "ntpsec", "openntpd")


class _Timex(ctypes.Structure):
    """The beginning of a struct timex, and room for the rest."""

    _fields_ = [
        ("modes", ctypes.c_uint),
        *((name, ctypes.c_long) for name in ("offset", "freq", "maxerror", "esterror")),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    ]


def kernel_clock() -> tuple[bool, float]:
    """Return whether a time service keeps this kernel's clock, and by how many seconds it may be wrong.

    Raises:
        OSError: the kernel does not say.
    """
    said = _Timex()
    if ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(said)) < 0:
        raise OSError(ctypes.get_errno(), "adjtimex")
    return not said.status & UNSYNCHRONISED, said.maxerror / 1e6


def check_clock(host: Host) -> Iterator[str]:
    """Return a warning where nothing keeps the clock right. A container has the clock of its host.

    Args:
        host: the host.
    """
    if host.path("/run/systemd/container").exists():
        return
    try:
        synchronised, wrong = kernel_clock()
    except OSError:
        return
    if synchronised:
        return
    units = [name for name in TIME_SERVICES if host.glob(f"/usr/lib/systemd/system/{name}.service")]
    advice = (
        f"`systemctl status {units[0]}` on the host says why"
        if units
        else "no time service is installed: install systemd-timesyncd or chrony"
    )
    yield (
        f"The clock is not synchronised: the kernel expects an error of up to {wrong:.0f} s, which grows. {advice}. "
        "Until then tasks with an ETA or an expiry may run at the wrong time."
    )
