# SPDX-License-Identifier: MIT
"""The application on one host: its programs, the files that they read, and the digests that say what changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.celery_on_hosts.platform.plugins.module_utils.names import SETTINGS
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils import settings, topology, web
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.programs import Program, Programs
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.shipped import (
    ShippedFile,
    restart_digest,
    shipped_files,
)
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.workers import Worker
from ansible_collections.celery_on_hosts.platform.runtime.celery_on_hosts import platform_file

if TYPE_CHECKING:
    from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.platform import Platform


class Application:
    """What the role ``celery`` runs on a host.

    Args:
        platform: the platform that the application is part of.
        host: the host.
    """

    def __init__(self, platform: Platform, host: str) -> None:
        self.platform = platform
        self.host = host
        self.variables: Mapping[str, Any] = platform.inventory.hosts[host]
        self.folders = web.Folders.of(self.variables)

    def describe(self) -> dict[str, Any]:
        """Return the variables of the role ``celery``."""
        variables, folders = self.variables, self.folders
        broker, results, database = self.endpoints
        return {
            "endpoints": {"broker": broker, "results": results, "database": database},
            "programs": self.commands,
            "shipped_files": [file.as_dict() for file in self.shipped],
            "reports": {
                program.name: program.report
                for program in self.programs
                if program.report and variables["celery_handover"]
            },
            "stop_timeout": self._all_programs.stop_timeout_on(self.host, variables["group_names"]),
            "proof_timeout": variables["celery_health_timeout"],
            "commands": variables["celery_app_release_commands"],
            "releases_kept": variables["celery_keep_releases"],
            "retried": variables["celery_release_again"],
            "files": self.files(SETTINGS),
            "candidate_files": self.files(settings.CANDIDATE_FOLDER),
            "digest": self.digest,
            "configuration": settings.configuration_digest(self.digest, self.description(SETTINGS), self.commands),
            "folders": {
                "data": web.DATA,
                "state": list(folders.state),
                "served": list(folders.served),
                "static": list(folders.static),
                "commands": self.static_commands,
            },
            "check_digest": settings.short_digest(
                json.dumps([*self.checked_web, folders.state, folders.static, self.static_commands]), 6
            ),
        }

    # --- programs ----------------------------------------------------------------------------------------------------

    @cached_property
    def _all_programs(self) -> Programs:
        return self.platform.programs(self.host)

    @cached_property
    def workers(self) -> list[Worker]:
        """The workers of the host, also while the host is drained."""
        return self._all_programs.workers_of(self.host, self.variables["group_names"])

    @property
    def drained(self) -> bool:
        """Whether the host has workers that are out of service."""
        return self.platform.drained(self.host) and self.workers != []

    @cached_property
    def programs(self) -> list[Program]:
        """The programs that run on the host."""
        node_host = self.platform.inventory.facts(self.host).get("nodename", self.host)
        return self._all_programs.application(self.host, self.variables["group_names"], node_host, self.drained)

    @property
    def commands(self) -> list[dict[str, Any]]:
        """The programs as supervisord gets them. The suffix changes when a file that the program reads changes."""
        return [
            {**program.as_dict(), "suffix": program.suffix + restart_digest(self.shipped, program.name)}
            for program in self.programs
        ]

    @property
    def checked_web(self) -> tuple[str, str]:
        """The application or the command of the web side that the check of a release loads, on every host."""
        if not self.platform.topology.runs("web"):
            return "", ""
        command = self.variables["celery_web_command"]
        return "" if command else self.variables["celery_web_app"], command

    @property
    def static_commands(self) -> list[str] | None:
        """The commands that make the static folders on this host; None where nothing serves them."""
        serves = self.platform.topology.has(self.host, "web") and self.folders.static
        return list(self.variables["celery_web_static_commands"]) if serves else None

    # --- what the programs read --------------------------------------------------------------------------------------

    @cached_property
    def endpoints(self) -> tuple[str, str, str]:
        """The addresses of the broker, the result store and the database, with their credentials."""
        platform, host = self.platform, self.host
        return platform.broker_url(host), platform.result_url(host), platform.database_url(host)

    @cached_property
    def shipped(self) -> list[ShippedFile]:
        """The files of ``celery_files``."""
        return shipped_files(self.variables["celery_files"], Path(self.variables["inventory_dir"]))

    @cached_property
    def signing(self) -> tuple[str, str] | None:
        """The key that signs messages, and its certificate; None where messages are not signed."""
        key = self.variables["celery_signing_key"] if self.variables["celery_message_signing"] else ""
        return (key, self.platform.self_signed(key, "celery")) if key else None

    def environment(self, folder: str) -> dict[str, Any]:
        """Return the environment of every program.

        Args:
            folder: where the files are that the environment names.
        """
        found = settings.environment(self.variables, *self.endpoints, folder)
        found = {**self.platform.cache_environment(self.host), **found}
        return {**found, **settings.own_names(self.variables["celery_app_environment_from"], found)}

    def description(self, folder: str) -> platform_file.Platform:
        """Return what the runtime reads in ``platform.json``.

        Args:
            folder: where the file is.
        """
        topo, programs = self.platform.topology, [program.description for program in self.programs]
        if topo.has(self.host, "monitoring"):
            url = f"http://{topology.place(topo.bind('monitoring', self.host), topology.FLOWER)}/flower/healthcheck"
            programs.append(platform_file.Program(program="flower", kind="flower", url=url))
        web_app, web_command = self.checked_web
        return replace(
            settings.shared_description(self.variables, folder),
            lone_worker=len(self._all_programs.workers) == 1 and len(topo.members["workers"]) == 1,
            drained=self.drained,
            programs=tuple(programs),
            readers=self.platform.readers(),
            web_app=web_app,
            web_command=web_command,
            state=self.folders.state,
            static=self.folders.static,
            commands=settings.commands_digest(
                self.variables["celery_app_release_commands"], self.static_commands or ()
            ),
        )

    def files(self, folder: str) -> list[dict[str, Any]]:
        """Return the files with settings, as the module ``files`` takes them.

        Args:
            folder: the folder that they are written to.
        """
        return settings.settings_files(
            folder,
            environment=self.environment(folder),
            description=self.description(folder),
            worker_environments={
                worker.program: worker.environment for worker in self.workers if worker.environment and not self.drained
            },
            signing=self.signing,
            authorities=self.variables["celery_services_ca"],
        )

    @cached_property
    def digest(self) -> str:
        """What changes when something changes that every program reads at its start."""
        certificates = (self.signing[1] if self.signing else "") + self.variables["celery_services_ca"]
        shared = settings.shared_description(self.variables)
        return settings.settings_digest(self.environment(SETTINGS), certificates, shared, restart_digest(self.shipped))
