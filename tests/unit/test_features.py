"""docs/features.md has each example of the app, with its code, its test and its page, and they are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/features.md"
ROWS = [
    row for row in PAGE.read_text().splitlines() if row.startswith("|") and not row.startswith(("| feature", "|---"))
]
EXAMPLES = {
    function.name
    for module in (ROOT / "app/tasks/examples").glob("*.py")
    for function in ast.parse(module.read_text()).body
    if isinstance(function, ast.FunctionDef)
    for decorator in function.decorator_list
    if isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Name) and decorator.func.id == "example"
}


def linked(cell: str) -> tuple[str, str]:
    """The text of a cell's link, and that of the file to which it leads."""
    link = re.fullmatch(r" \[`(.+)`\]\((\.\./[\w./-]+)\) ", cell)
    assert link, cell
    return link[1].replace("\\|", "|"), (PAGE.parent / link[2]).read_text()


@pytest.mark.parametrize("row", ROWS)
def test_a_row_has_a_line_of_code_a_test_and_a_page(row: str) -> None:
    _, feature, code, test, page, _ = re.split(r"(?<!\\)\|", row)
    assert feature.strip()
    line, source = linked(code)
    assert line in source
    name, tests = linked(test)
    assert f"def {name}(" in tests
    assert page.strip()
    assert set(re.findall(r"`/examples/(\w+)`", page)) <= EXAMPLES


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_each_example_is_listed(name: str) -> None:
    assert any(f"`/examples/{name}`" in row for row in ROWS)
