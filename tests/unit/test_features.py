"""docs/features.md has each example of the app, with its code, its test and its page."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROWS = [
    row
    for row in (ROOT / "docs/features.md").read_text().splitlines()
    if row.startswith("|") and not row.startswith(("| feature", "|---"))
]
EXAMPLES = {
    function.name
    for module in (ROOT / "app/tasks/examples").glob("*.py")
    for function in ast.parse(module.read_text()).body
    if isinstance(function, ast.FunctionDef)
    for decorator in function.decorator_list
    if isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Name) and decorator.func.id == "example"
}


@pytest.mark.parametrize("row", ROWS)
def test_a_row_has_code_test_and_page(row: str) -> None:
    # `make docs` refuses a link whose text is not in the file that it names.
    _, feature, code, test, page, _ = re.split(r"(?<!\\)\|", row)
    assert feature.strip()
    assert re.fullmatch(r" \[`.+`\]\(\.\./[\w./-]+#L\d+\) ", code)
    assert re.fullmatch(r" \[`test_\w+`\]\(\.\./[\w./-]*tests/[\w./-]+#L\d+\) ", test)
    assert page.strip()
    assert set(re.findall(r"`/examples/(\w+)`", page)) <= EXAMPLES


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_each_example_is_listed(name: str) -> None:
    assert any(f"`/examples/{name}`" in row for row in ROWS)
