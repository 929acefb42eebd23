"""Each plugin's documentation can be read by ansible-doc."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml

PLUGINS = Path(__file__).parents[3] / "plugins"
DOCUMENTED = sorted(path for path in PLUGINS.rglob("*.py") if "\nDOCUMENTATION = " in path.read_text())


@pytest.mark.parametrize("path", DOCUMENTED, ids=lambda path: path.relative_to(PLUGINS).as_posix())
def test_it_is_yaml_and_named_as_its_file(path: Path) -> None:
    texts = {
        target.id: yaml.safe_load(ast.literal_eval(node.value))
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id in ("DOCUMENTATION", "EXAMPLES", "RETURN")
    }
    documentation = texts["DOCUMENTATION"]
    assert path.stem in (documentation.get("module"), documentation.get("name"))
    assert documentation["short_description"][-1] != "."
