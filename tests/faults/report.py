"""The report: verdicts as JSON, as a page of Markdown, and one picture each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jinja2
import pygal
from pygal.style import Style

from tests.faults.faults import BOTH, FAULTS
from tests.faults.ledger import Verdict, verdict_of

TEMPLATE = Path(__file__).with_name("guarantees.md.j2")
KEYS = ("fault", "broker", "topology", "accepted", "finished", "lost", "twice", "gap_s", "healthy_s")
MORE = ("twice_allowed", "refused", "failed", "noticed_s", "proof", "brief", "date", "problems")


def keep(verdict: Verdict, folder: Path) -> None:
    """Write a verdict down, in the place of an earlier one of the same fault and broker.

    Args:
        verdict: which.
        folder: of all verdicts.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{verdict.name}.json").write_text(json.dumps(verdict.as_json()) + "\n", encoding="utf-8")


def kept(folder: Path) -> list[Verdict]:
    """All verdicts of a folder: in the order of the matrix, then the proofs, then the soaks.

    Args:
        folder: of all verdicts.
    """
    found = [verdict_of(json.loads(path.read_text(encoding="utf-8"))) for path in folder.glob("*.json")]
    return sorted(found, key=lambda verdict: (verdict.proof, number(verdict.fault), verdict.fault, verdict.broker))


def number(fault: str) -> int:
    """The number of F9; what is none of the matrix comes last."""
    digits = re.match(r"F(\d+)", fault)
    return int(digits[1]) if digits else 1000


def rows(verdicts: Iterable[Verdict]) -> list[dict[str, Any]]:
    """docs/guarantees.json."""
    return [{key: getattr(verdict, key) for key in KEYS + MORE} for verdict in verdicts]


def picture(verdict: Verdict) -> str:
    """The tasks that succeeded in each second, with the time of the fault marked, as SVG.

    Args:
        verdict: of what.
    """
    style = Style(
        background="white",
        plot_background="white",
        colors=("#d9a0a0", "#20609f"),
        font_family="sans-serif",
        title_font_size=16,
        label_font_size=12,
        legend_font_size=12,
    )
    chart = pygal.XY(
        style=style,
        js=(),
        width=800,
        height=260,
        show_dots=False,
        legend_at_bottom=True,
        legend_at_bottom_columns=2,
        title=f"{verdict.fault}, {verdict.broker}: {verdict.title}".replace("`", ""),
        x_title="seconds",
        range=(0, max([1, *verdict.series])),
        disable_xml_declaration=True,
    )
    (begin, end), high = verdict.fault_s, max([1, *verdict.series])
    chart.add(
        "the fault", [(begin, 0), (begin, high), (max(end, begin + 1), high), (max(end, begin + 1), 0)], fill=True
    )
    chart.add("tasks that succeed, a second", list(enumerate(verdict.series)))
    return str(chart.render(is_unicode=True)) + "\n"


def page(verdicts: list[Verdict]) -> str:
    """docs/guarantees.md.

    Args:
        verdicts: all of them, in order.
    """
    environment = jinja2.Environment(  # noqa: S701  (Markdown, not HTML)
        loader=jinja2.FileSystemLoader(TEMPLATE.parent),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    measured = {(verdict.fault, verdict.broker) for verdict in verdicts}
    unmeasured = [f"{id} {broker}" for id in FAULTS for broker in BOTH if (id, broker) not in measured]
    return environment.get_template(TEMPLATE.name).render(verdicts=verdicts, unmeasured=unmeasured)


def write(verdicts: list[Verdict], folder: Path) -> None:
    """Write the report.

    Args:
        verdicts: all of them.
        folder: where to: guarantees.md, guarantees.json and the pictures in guarantees/.
    """
    pictures = folder / "guarantees"
    pictures.mkdir(parents=True, exist_ok=True)
    for old in pictures.glob("*.svg"):
        old.unlink()
    for verdict in verdicts:
        (pictures / f"{verdict.name}.svg").write_text(picture(verdict), encoding="utf-8")
    (folder / "guarantees.json").write_text(json.dumps(rows(verdicts), indent=1) + "\n", encoding="utf-8")
    (folder / "guarantees.md").write_text(page(verdicts), encoding="utf-8")
