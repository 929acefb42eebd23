"""The roles as the playbook would run them, rendered with Ansible's own templar; no host, no process.

A :class:`Platform` is an inventory of one or more hosts. What it is asked for comes from the files themselves:
`playbooks/site.yml` says which variables a role gets, the role's tasks say which files and programs it makes of them.
"""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
os.environ.setdefault("ANSIBLE_CONFIG", str(ROOT / "ansible.cfg"))

from ansible.parsing.dataloader import DataLoader  # noqa: E402
from ansible.plugins.loader import init_plugin_loader  # noqa: E402
from ansible.template import Templar  # noqa: E402
from ansible.utils.collection_loader import AnsibleCollectionConfig  # noqa: E402
from ansible_collections.celery_on_hosts.platform.plugins.filter.signing import self_signed  # noqa: E402
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.platform import Inventory  # noqa: E402
from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.platform import Platform as Model  # noqa: E402

if AnsibleCollectionConfig.collection_finder is None:
    init_plugin_loader([str(ROOT / ".ansible/collections")])

Variables = dict[str, Any]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
GROUPS = ("brokers", "results", "database", "workers", "beat", "web", "monitoring", "proxy")
PYTHON = {12: (3, 11), 13: (3, 13)}
SECRETS = {
    name: f"s3cret-{name}"
    for name in (
        *("celery_rabbitmq_password", "celery_rabbitmq_operator_password", "celery_rabbitmq_flower_password"),
        *("celery_redis_password", "celery_redis_operator_password", "celery_redis_flower_password"),
        *("celery_database_password", "celery_flower_password", "celery_secret_key"),
    )
}

LOADER = DataLoader()
LOADER.set_basedir(str(ROOT / "playbooks"))


@cache
def load(path: Path) -> Any:
    """A YAML file as Ansible reads it: its texts may hold templates. Empty where there is no such file."""
    return LOADER.load_from_file(str(path), trusted_as_template=True) if path.exists() else {}


def walk_tasks(tasks: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """All tasks of a list, those in blocks too."""
    for task in tasks:
        yield task
        for part in ("block", "rescue", "always"):
            yield from walk_tasks(task.get(part, []))


def task_files(role: str) -> list[Path]:
    """The files of tasks of a role."""
    return sorted((ROOT / "roles" / role / "tasks").glob("*.yml"))


def role_tasks(role: str) -> list[Mapping[str, Any]]:
    """All tasks of a role, whatever file they are in."""
    return [task for path in task_files(role) for task in walk_tasks(load(path) or [])]


def plays(playbook: Path = ROOT / "playbooks/site.yml") -> list[Mapping[str, Any]]:
    """The plays of a playbook, with those that it imports; the playbook that deploys when left out."""
    found: list[Mapping[str, Any]] = []
    for play in load(playbook):
        imported = play.get("ansible.builtin.import_playbook")
        found += plays((playbook.parent / imported).resolve()) if imported else [play]
    return found


def play_tasks(play: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """All tasks of a play, those of files in playbooks/tasks too."""
    for task in walk_tasks(play.get("tasks", [])):
        imported = task.get("ansible.builtin.import_tasks") or task.get("ansible.builtin.include_tasks")
        yield task
        if imported:
            yield from walk_tasks(load(ROOT / "playbooks/tasks" / Path(imported).name))


class Platform:
    """One host of an inventory, with the variables that it has in each role.

    Args:
        debian: its release, 12 or 13.
        groups: the hosts of each group; a single host that is in all of them when left out.
        host: which of the hosts.
        variables: what the inventory sets.
    """

    def __init__(
        self, debian: int = 13, groups: Mapping[str, Sequence[str]] | None = None, host: str = "a", **variables: Any
    ) -> None:
        major, minor = PYTHON[debian]
        self.groups = {name: list(hosts) for name, hosts in (groups or {key: [host] for key in GROUPS}).items()}
        hosts = sorted({name for members in self.groups.values() for name in members})
        release = {"release_id": "0123456789ab", "deps_id": "ba9876543210"}
        archives = {"release_archive": "/cache/release.tar.gz", "deps_archive": "/cache/deps.tar.gz"}
        self.inventory: Variables = SECRETS | variables
        self._rendered: dict[tuple[str, str], list[Variables]] = {}
        self._described: dict[str, Variables] = {}
        self.magic: Variables = {
            "inventory_hostname": host,
            "inventory_dir": "/inventory",
            "playbook_dir": str(ROOT / "playbooks"),
            "groups": self.groups | {"all": hosts},
            "group_names": sorted(name for name, members in self.groups.items() if host in members),
            "hostvars": {
                name: {"ansible_facts": {"default_ipv4": {"address": f"192.0.2.{number}"}}}
                for number, name in enumerate(hosts, start=1)
            },
            "ansible_play_hosts": hosts,
            "ansible_play_hosts_all": hosts,
            "ansible_play_batch": [host],
            "ansible_check_mode": False,
            "ansible_playbook_python": "/controller/bin/python",
            "ansible_facts": {
                "distribution": "Debian",
                "distribution_major_version": str(debian),
                "architecture": "x86_64",
                "nodename": host,
                "python": {"version": {"major": major, "minor": minor}},
                "default_ipv4": {"address": f"192.0.2.{hosts.index(host) + 1}"},
            },
            "__celery_restored": {"content": ""},
            "__redis_meminfo": {"content": b64encode(b"MemTotal:        4030464 kB\n").decode()},
            "__celery_commands": {"results": []},
            "__platform_missing": [],
            "platform_rotates_credentials": False,
            "platform_drained": True,
            "platform_not_renewed": [],
            "platform_configured_hosts": [],
            "__platform_app": release | archives,
            "__platform_flower": release | archives,
            "__celery_files": {"files": []},
            "__platform_unpacked": {
                **{name: {"/opt/celery": "", "/opt/flower": ""} for name in ("current", "worked")},
                "unproven": {"/opt/celery": False, "/opt/flower": False},
            },
        }

    def model(self) -> Model:
        """The platform's model, of the inventory as it is now."""
        defaults = load(ROOT / "roles/platform/defaults/main.yml")
        hosts = {}
        for host in self.magic["groups"]["all"]:
            facts = self.magic["hostvars"][host].get("ansible_facts", {})
            if host == self.magic["inventory_hostname"]:
                facts = self.magic["ansible_facts"] | facts
            known = defaults | {"role_path": str(ROOT / "roles/platform")} | self.inventory | self.magic
            values = Templar(LOADER, known).template({name: known[name] for name in {**defaults, **self.inventory}})
            groups = [name for name, members in self.groups.items() if host in members]
            hosts[host] = values | {"group_names": groups, "inventory_dir": "/inventory", "ansible_facts": facts}
        return Model(Inventory(self.groups, hosts), self_signed)

    def described(self) -> Variables:
        """The host's fact ``platform``."""
        read = repr((self.groups, self.inventory, self.magic["hostvars"], self.magic["ansible_facts"]))
        if read not in self._described:
            self._described[read] = self.model().describe(self.magic["inventory_hostname"])
        return self._described[read]

    def variables(self, role: str) -> Variables:
        """What a role's tasks see: defaults, inventory, the role's constants, what the playbook hands over."""
        folder, platform = ROOT / "roles" / role, ROOT / "roles/platform"
        merged: Variables = {"role_path": str(folder), "ansible_search_path": [str(folder)]}
        for part in (
            load(platform / "defaults/main.yml"),
            load(folder / "defaults/main.yml"),
            self.inventory,
            self.magic,
            load(platform / "vars/main.yml"),
            load(folder / "vars/main.yml"),
            *(block["vars"] for block in role_tasks(role) if "block" in block and "vars" in block),
            {"platform": self.described()},
            self._release_facts(),
            self._handed(role),
        ):
            merged |= part or {}
        return merged

    @staticmethod
    def _release_facts() -> Variables:
        (task,) = [
            task for task in role_tasks("platform") if "platform_release" in task.get("ansible.builtin.set_fact", {})
        ]
        return dict(task["ansible.builtin.set_fact"])

    def _handed(self, role: str) -> Variables:
        services = {"rabbitmq", "redis", "postgresql", "nginx", "celery", "flower"}
        if role in services - set(self.described()["services"]):
            return {}  # the playbook does not run the role on this host
        for play in plays():
            for task in play_tasks(play):
                called = task.get("ansible.builtin.import_role", {})
                if called.get("name") == role and "vars" in task:
                    return dict(task["vars"])
        return {}

    def value(self, role: str, text: Any, **more: Any) -> Any:
        """A value with its templates rendered as in a task of a role."""
        return Templar(LOADER, self.variables(role) | more).template(text)

    def variable(self, role: str, name: str) -> Any:
        """A variable's value in a role."""
        return self.value(role, self.variables(role)[name])

    def arguments(self, role: str, module: str) -> list[Variables]:
        """The rendered arguments of each task of a role that runs a module of ours."""
        name = f"celery_on_hosts.platform.{module}"
        if (role, name) not in self._rendered:
            tasks = [task for task in role_tasks(role) if name in task]
            self._rendered[role, name] = [self.value(role, task[name], **task.get("vars", {})) for task in tasks]
        return self._rendered[role, name]

    def files(self, role: str) -> dict[str, Variables]:
        """What a role writes, by path: entries of ``files``, ``service_applied`` and ``supervisor_programs``."""
        written = [entry for call in self.arguments(role, "files") for entry in call["files"]]
        written += [
            entry
            for module in ("service_applied", "supervisor_programs")
            for call in self.arguments(role, module)
            for entry in call.get("configuration", [])
        ]
        return {entry["dest"]: entry for entry in written}

    def text(self, role: str, dest: str) -> str:
        """The text of one file that a role writes."""
        entry = self.files(role)[dest]
        return str(entry.get("secret") or entry["content"])

    def programs(self, role: str = "celery") -> str:
        """The supervisord programs of a role."""
        # First those of going back to another release.
        return str([call for call in self.arguments(role, "supervisor_programs") if "content" in call][-1]["content"])
