# SPDX-License-Identifier: MIT
"""Read what a host has: files, packages, accounts, listeners and processes. Standard library only."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import socket
import struct
import subprocess
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ansible_collections.celery_on_hosts.platform.plugins.module_utils import processes
from ansible_collections.celery_on_hosts.platform.plugins.module_utils.names import KEPT, STAMPS

LISTENING = "0A"  # in /proc/net/tcp


@dataclass(frozen=True)
class Listener:
    """A socket that accepts TCP connections."""

    address: str
    port: int
    uid: int
    inode: str


@dataclass(frozen=True)
class Process:
    """A process: its unit is the last part of its control group, such as ``nginx.service``."""

    pid: int
    name: str
    unit: str

    def __str__(self) -> str:
        return f"{self.name} (PID {self.pid}{f', {self.unit}' if self.unit else ''})"


class Host:
    """Read a host's files, accounts, listeners and processes.

    Args:
        root: its root folder.
    """

    def __init__(self, root: str = "/") -> None:
        self.root = Path(root)

    def path(self, name: str) -> Path:
        """Return a path of the host as a path of this process."""
        return self.root / name.lstrip("/")

    def name(self, path: Path) -> str:
        """Return a path of this process as a path of the host."""
        return f"/{path.relative_to(self.root)}"

    def glob(self, pattern: str) -> list[Path]:
        """Return the paths that match a pattern, in order."""
        return sorted(self.root.glob(pattern.lstrip("/")))

    def _nearest(self, name: str) -> Path:
        """Return a path of the host, or the nearest folder above it that exists."""
        path = self.path(name)
        return path if path.exists() else self._nearest(str(Path(name).parent))

    def file_system(self, name: str) -> int:
        """Return a number that the paths of one file system share."""
        return self._nearest(name).stat().st_dev

    def free(self, name: str) -> tuple[int, int | None]:
        """Return the free megabytes and inodes of a path's file system; None where it has no limit of inodes."""
        said = os.statvfs(self._nearest(name))
        return said.f_bavail * said.f_frsize // 1_000_000, said.f_favail if said.f_files else None

    @property
    def memory(self) -> int | None:
        """Return the megabytes of memory and swap that new programs can have; None where that is not known."""
        said = dict(re.findall(r"(?m)^(MemAvailable|SwapFree): +(\d+) kB$", text_of(self.path("/proc/meminfo"))))
        return sum(map(int, said.values())) // 1000 if "MemAvailable" in said else None

    def claimed(self, unit: str) -> bool:
        """Return whether the platform has configured a unit, or has begun to.

        Args:
            unit: its name, or a pattern of names.
        """
        return bool(self.glob(f"{STAMPS}/{unit}.json"))

    @cached_property
    def kept(self) -> list[str]:
        """Return the folders whose data `make remove` left for the next deployment."""
        try:
            return list(json.loads(self.path(KEPT).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return []

    def wait_for_dpkg(self, timeout: float = 600) -> None:
        """Wait until no packages are being installed: until then a package's files may be incomplete.

        Args:
            timeout: seconds. After that the host is read as it is.
        """
        lock = self.path("/var/lib/dpkg/lock-frontend")
        deadline = time.monotonic() + timeout
        while lock.exists() and time.monotonic() < deadline:
            asked = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)  # a struct flock
            with lock.open("rb") as file:
                answer = fcntl.fcntl(file, fcntl.F_GETLK, asked)
            if struct.unpack("hhqqi", answer)[0] == fcntl.F_UNLCK:
                return
            time.sleep(0.5)

    @cached_property
    def conffiles(self) -> dict[str, str]:
        """Return the MD5 of each configuration file that a package brought, by path."""
        said = subprocess.run(
            ["dpkg-query", f"--admindir={self.path('/var/lib/dpkg')}", "--show", "--showformat", "${Conffiles}\n"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout
        return dict(re.findall(r"^ (/\S+) ([0-9a-f]{32}|newconffile)\b", said, re.MULTILINE))

    def altered(self, path: Path) -> bool:
        """Return whether a file exists and differs from what a package brought."""
        if not path.is_file():
            return path.is_symlink() or path.exists()
        found = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        return self.conffiles.get(self.name(path)) not in (
            found,
            "newconffile",
        )  # newconffile: dpkg has just unpacked the file

    @cached_property
    def accounts(self) -> dict[str, tuple[int, str]]:
        """Return the number and the home of each account."""
        path = self.path("/etc/passwd")
        lines = [line.split(":") for line in text_of(path).splitlines()]
        return {fields[0]: (int(fields[2]), fields[5]) for fields in lines if len(fields) == 7 and fields[2].isdigit()}

    @cached_property
    def listeners(self) -> list[Listener]:
        """Return the sockets that accept TCP connections."""
        found = []
        for name, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
            for line in text_of(self.path(f"/proc/net/{name}")).splitlines()[1:]:
                fields = line.split()
                if len(fields) > 9 and fields[3] == LISTENING:
                    address, _, port = fields[1].partition(":")
                    words = [bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8)]
                    place = socket.inet_ntop(family, b"".join(words))
                    found.append(Listener(place, int(port, 16), int(fields[7]), fields[9]))
        return found

    @cached_property
    def owners(self) -> dict[str, list[Process]]:
        """Return the processes that hold each listening socket, by the socket's inode."""
        wanted = {f"socket:[{one.inode}]": one.inode for one in self.listeners}
        found: dict[str, list[Process]] = {}
        for folder in processes.folders(self.path("/proc")):
            try:
                held = {str(link.readlink()) for link in (folder / "fd").iterdir()} & wanted.keys()
            except OSError:  # the process has ended, or belongs to another user
                continue
            for link in held:
                found.setdefault(wanted[link], []).append(self.process(folder))
        return {inode: sorted(holders, key=lambda one: one.pid) for inode, holders in found.items()}

    @staticmethod
    def process(folder: Path) -> Process:
        """Return the process of a folder in /proc."""
        groups = [line.split(":", 2) for line in text_of(folder / "cgroup").splitlines()]
        paths = [path for number, kind, path in groups if number == "0" or kind == "name=systemd"]
        # A service may have groups of its own below its unit's.
        units = [part for path in paths for part in path.split("/") if part.endswith((".service", ".scope"))]
        return Process(int(folder.name), text_of(folder / "comm").strip(), units[-1] if units else "")


def text_of(path: Path) -> str:
    """Return a file's text, empty where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def settings_of(path: Path) -> list[str]:
    """Return the lines of a file that are not empty and no comment, each with single spaces."""
    lines = [line.split("#", 1)[0].split() for line in text_of(path).splitlines()]
    return [" ".join(words) for words in lines if words]
