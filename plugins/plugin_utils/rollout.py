# SPDX-License-Identifier: MIT
"""Decide how a release, or new settings, get to a host: what is a candidate, what has to prove itself, what is said.

Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.celery_on_hosts.platform.plugins.module_utils.names import CELERY_ROOT, FLOWER_ROOT


@dataclass(frozen=True)
class Rollout:
    """What a host is to run, and what ran there before.

    Args:
        wanted: the release that is to run.
        worked: the release that worked last on the host, empty where none did.
        interrupted: whether an earlier run left settings or programs that have not worked yet.
        settings_changed: whether what the programs read when they start changes.
        programs_changed: whether a program's own file changed.
        shipped_changed: whether a file of ``celery_files`` changed.
        temporary: whether the change is meant for a while (a drained host) or cannot be taken back (new credentials).
        check: whether this is a dry run.
    """

    wanted: str
    worked: str = ""
    interrupted: bool = False
    settings_changed: bool = False
    programs_changed: bool = False
    shipped_changed: bool = False
    temporary: bool = False
    check: bool = False

    @property
    def another_release(self) -> bool:
        """Whether the release is not the one that worked last."""
        return self.worked != self.wanted

    @property
    def can_roll_back(self) -> bool:
        """Whether something worked here and could again: another release, or this release with other settings."""
        return not self.check and self.worked != "" and (self.another_release or not self.temporary)

    @property
    def candidate(self) -> bool:
        """Whether what is to run has to work, and is rolled back where it does not."""
        if self.check or not self.worked:
            return False
        changed = self.another_release or self.settings_changed or self.programs_changed or self.shipped_changed
        return self.interrupted or (self.can_roll_back and changed)

    @classmethod
    def of(
        cls,
        release: Mapping[str, Any],
        shipped: Mapping[str, Any],
        files: Mapping[str, Any],
        programs: Mapping[str, Any],
    ) -> Rollout:
        """Return the rollout of a host from what its tasks know.

        Args:
            release: ``wanted``, ``worked``, ``interrupted``, ``temporary`` and ``check``.
            shipped: the registered result of the module ``ship_files``; as the others, empty where it did not run yet.
            files: the registered result of the comparison of the settings' files.
            programs: the registered result of the module ``supervisor_programs``.
        """
        return cls(
            **release,
            settings_changed=bool(files.get("files")),
            programs_changed=bool(programs.get("files")),
            shipped_changed=bool(shipped.get("files")),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return what the role ``celery`` asks for."""
        return {
            "another_release": self.another_release,
            "can_roll_back": self.can_roll_back,
            "candidate": self.candidate,
        }


def rolled_back_message(rollout: Rollout, reason: str, finished: Sequence[str], untouched: Sequence[str]) -> str:
    """Return what is said when a host has rolled back.

    Args:
        rollout: what was tried.
        reason: why it does not work.
        finished: the hosts on which it works.
        untouched: the hosts that had no turn yet.
    """
    others = "No other host was touched." if untouched else ""
    if rollout.another_release:
        if finished:
            others = (
                f"On {', '.join(finished)} it works and stays: make rollback TO={rollout.worked} rolls back there too."
            )
        lines = [
            f"Release {rollout.wanted} does not work: {reason}",
            f"Release {rollout.worked} runs again, with its previous settings, and {rollout.wanted} is marked bad "
            "with the settings of this run (make releases).",
            others,
            "What to do: change the code, which makes another release, or the settings that the reason is about. "
            "AGAIN=1 (celery_release_again: true) tries both again as they are.",
        ]
    else:
        if finished:
            others = f"On {', '.join(finished)} they work and stay."
        lines = [
            f"The new settings do not work: {reason}",
            "The previous settings are in use again.",
            others,
            "What to do: change in the inventory what the reason is about, and deploy again.",
        ]
    return "\n".join(line for line in lines if line)


def archives(builds: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the releases that a host gets, as the module ``release_unpack`` takes them.

    Args:
        builds: what the module ``release_build`` returned for the application and for Flower; empty or skipped where
            the host gets none.
    """
    keys = ("deps_id", "release_id", "deps_archive", "release_archive")
    roots = ((CELERY_ROOT, "celery"), (FLOWER_ROOT, ""))  # an application may hold secrets, Flower's packages hold none
    return [
        {"root": root, "group": group, **{key: build[key] for key in keys}}
        for (root, group), build in zip(roots, builds, strict=True)
        if build.get("release_id")
    ]


def host_release(
    build: Mapping[str, Any], found: Mapping[str, Any], unpacked: Mapping[str, Any], kind: str
) -> dict[str, Any]:
    """Return the application's release that a host is to run, and what is known of those that it has.

    Args:
        build: what the module ``release_build`` returned; empty or skipped for a release that the host has already.
        found: what the module ``releases`` returned for such a release.
        unpacked: what the module ``release_unpack`` returned for a release that was built.
        kind: what was asked for: ``celery_release``.

    Returns:
        ``kind``; ``release_id``; ``checked``, the configuration with which the host checked it, and ``summary``, what
        that check said; ``current`` and
        ``worked``, the releases that are current and that worked last; ``unproven``, whether an interrupted run left
        something that has not worked yet.
    """
    if build.get("release_id"):
        root = CELERY_ROOT
        known = {key: unpacked[key].get(root, missing) for key, missing in _KNOWN.items()}
        said = unpacked.get("summary", {}).get(root, {})
        return {"kind": kind, "release_id": build["release_id"], "checked": "", "summary": said, **known}
    if found.get("found"):
        (facts,) = [one for one in found["releases"] if one["release"] == found["found"]]
        known = {key: facts[key] for key in ("checked", "summary")} | {key: found[key] for key in _KNOWN}
        return {"kind": kind, "release_id": found["found"], **known}
    return {"kind": kind, "release_id": "", "checked": "", "summary": {}, **_KNOWN}


_KNOWN: Mapping[str, Any] = {"current": "", "worked": "", "unproven": False}
