"""The roles' own shape: every variable is described, named by the rules, defined and used."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment, TemplateSyntaxError, nodes

from tests.unit.rendering import ROLES, ROOT, Platform, load, role_tasks

# Public variables of these roles are the platform's, which a user sets.
PREFIX = {"platform": "celery"}
# What the role `platform` gives to the playbooks, and what they give to its parts.
FACTS = ("platform", "platform_")
TYPES: dict[str, type | tuple[type, ...]] = {
    **{"str": str, "path": str, "list": list, "dict": dict, "bool": bool, "int": int, "float": (int, float)},
    "raw": object,
}
# Keys whose text is an expression without braces.
EXPRESSIONS = {"when", "until", "changed_when", "failed_when", "that"}
_jinja = Environment(extensions=["jinja2.ext.do"])  # noqa: S701  # it only reads


def spec(role: str) -> dict[str, Any]:
    return dict(load(ROOT / "roles" / role / "meta/argument_specs.yml")["argument_specs"]["main"])


def options(role: str) -> dict[str, Any]:
    return dict(spec(role).get("options", {}))


def defaults(role: str) -> dict[str, Any]:
    return load(ROOT / "roles" / role / "defaults/main.yml") or {}


def constants(role: str) -> dict[str, Any]:
    return load(ROOT / "roles" / role / "vars/main.yml") or {}


def registered(role: str) -> set[str]:
    return {task["register"] for task in role_tasks(role) if "register" in task}


def task_variables(role: str) -> set[str]:
    tasks = role_tasks(role)
    names = {name for task in tasks for name in task.get("vars", {})}
    return names | {name for task in tasks for name in task.get("ansible.builtin.set_fact", {})}


def expressions(value: Any, key: str = "") -> Iterator[str]:
    """Every text below a value that may name a variable, as a template."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from expressions(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from expressions(item, key)
    elif isinstance(value, str):
        yield f"{{{{ {value} }}}}" if key in EXPRESSIONS and "{{" not in value else value


def names_in(text: str) -> set[str]:
    """The names that a template reads, of variables and of attributes (``hostvars[host].name``)."""
    try:
        tree = _jinja.parse(text.replace("\\", "\\\\"))
    except TemplateSyntaxError as error:
        pytest.fail(f"{error}: {text}")
    return {node.name for node in tree.find_all(nodes.Name)} | {node.attr for node in tree.find_all(nodes.Getattr)}


def read_names(paths: list[Path]) -> set[str]:
    """The names that files of tasks, variables and templates read."""
    texts: list[str] = []
    for path in paths:
        if path.suffix == ".yml":
            texts += expressions(load(path))
        elif path.suffix == ".j2":
            texts.append(path.read_text())
    of_other_hosts = {name for text in texts for name in re.findall(r"map\(attribute='(__\w+)'", text)}
    return {name for text in texts for name in names_in(text)} | of_other_hosts


def role_files(role: str) -> list[Path]:
    folder = ROOT / "roles" / role
    return [path for part in ("tasks", "vars", "defaults", "templates") for path in (folder / part).glob("*")]


@pytest.mark.parametrize("role", ROLES)
def test_every_default_is_described_and_nothing_else(role: str) -> None:
    assert list(options(role)) == list(defaults(role)), "same names, in the same order"


@pytest.mark.parametrize("role", ROLES)
def test_every_description_is_a_sentence(role: str) -> None:
    def check(where: str, options: dict[str, Any]) -> None:
        for name, option in options.items():
            text = option["description"]
            text = " ".join(text) if isinstance(text, list) else text
            assert re.match(r"[A-Z].*\.$", text), f"{where}{name}: {text!r}"
            check(f"{where}{name}.", option.get("options", {}))

    assert spec(role)["short_description"]
    assert not spec(role)["short_description"].endswith(".")
    check("", options(role))


@pytest.mark.parametrize("role", [role for role in ROLES if role != "lab"])
def test_defaults_have_the_types_that_are_described(role: str) -> None:
    platform = Platform()
    for name, option in options(role).items():
        value = platform.variable(role, name)
        assert isinstance(value, TYPES[option.get("type", "str")]), f"{name}: {value!r} is no {option['type']}"
        assert isinstance(value, bool) == (option["type"] == "bool"), name
        assert value in option.get("choices", [value]), name


@pytest.mark.parametrize("role", ROLES)
def test_prose_is_in_the_description_and_not_beside_the_default(role: str) -> None:
    for line in (ROOT / "roles" / role / "defaults/main.yml").read_text().splitlines():
        assert re.match(r"(---|# [^#]*|[^#]*)$", line), f"a comment behind a value: {line}"


@pytest.mark.parametrize("role", ROLES)
def test_names_say_whose_they_are(role: str) -> None:
    public = PREFIX.get(role, role)
    for name in defaults(role):
        assert name.startswith(f"{public}_"), f"{name}: a public variable begins with {public}_"
    for name in constants(role):
        assert name.startswith(f"_{role}_"), f"{name}: a constant begins with _{role}_"
    for name in task_variables(role):
        fact = role == "platform" and name.startswith(FACTS)
        assert fact or name.startswith((f"_{role}_", f"__{role}_")), f"{name}: a task's variable begins with _{role}_"
    for name in registered(role):
        assert name.startswith(f"__{role}_"), f"{name}: a registered variable begins with __{role}_"


def test_every_variable_is_used() -> None:
    read = read_names([path for role in ROLES for path in role_files(role)])
    playbooks = sorted((ROOT / "playbooks").rglob("*.yml"))
    read |= read_names(playbooks) | {name for path in playbooks for name in re.findall(r"'(__\w+)", path.read_text())}
    for path in ROOT.glob("plugins/*/**/*.py"):
        read |= set(re.findall(r"\bcelery_\w+", path.read_text()))
    for role in ROLES:
        unused = {*defaults(role), *constants(role), *registered(role)} - read
        assert not unused, f"roles/{role} defines what nobody reads"


@pytest.mark.parametrize("role", ROLES)
def test_every_variable_is_defined(role: str) -> None:
    """A name with a role's prefix that is defined nowhere is a typing error."""
    handed = {
        name
        for path in (ROOT / "playbooks").rglob("*.yml")
        for name in re.findall(r"(?:^ +|[{,] ?)(\w+):", path.read_text(), re.MULTILINE)
    }
    known = {*defaults(role), *constants(role), *registered(role), *task_variables(role)}
    known |= {name for name in handed if name.startswith(FACTS)} if role == "platform" else set()
    prefixes = tuple(f"{'_' * count}{name}_" for name in [*ROLES, "celery"] for count in range(3))
    unknown = {name for name in read_names(role_files(role)) if name.startswith(prefixes)} - known
    assert not unknown


@pytest.mark.parametrize("role", ROLES)
def test_no_role_knows_another_ones_inside(role: str) -> None:
    others = [other for other in ROLES if other != role]
    private = tuple(f"{'_' * count}{other}_" for other in others for count in (1, 2))
    # The role celery has variables of its own with the prefix of what the user sets; each role is handed its values.
    public = tuple(f"{PREFIX.get(other, other)}_" for other in others)
    for name in read_names(role_files(role)) - {*defaults(role)}:
        assert not name.startswith(private), f"roles/{role} reads {name}"
        assert not name.startswith(public), f"roles/{role} reads {name}"
        assert role == "platform" or name not in defaults("platform"), f"roles/{role} reads {name}"
    for path in role_files(role):
        assert not re.search(r"\broles/(?!lab\b)\w+/|import_role|include_role", path.read_text()), path
