"""The page of the study: every question with its answer, picture, table, and the command that redoes it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stiffgrad.laboratory.study import KEYS
from stiffgrad.report._page import Block, Code, Listing, Picture, Row, Section, Table, Text, Value, render
from stiffgrad.report._study_pictures import draw
from stiffgrad.report.comparison import save

TITLES = {
    "original": "The original finding",
    "same_minimum": "1. The same minimum?",
    "solver_and_tolerance": "2. Solver and tolerance",
    "stiffness": "3. Is it stiff?",
    "above_80_percent": "4. Above 80% accuracy",
    "jacobian": "5. Which Jacobian?",
    "owens_filkin": "Owens and Filkin's table",
    "integrators": "Integrators made for gradient flows",
}


def write(folder: str | Path) -> Path:
    """Write `study.html` from the `findings.json` of a folder, and return its path.

    Raises
    ------
    ValueError
        If there are no findings, or the folder cannot be written to.

    Examples
    --------
    >>> write("runs/nothing-here")
    Traceback (most recent call last):
    ...
    ValueError: folder='runs/nothing-here' holds no findings.json; make it first: stiffgrad study --out ...
    """
    path = Path(folder) / "findings.json"
    try:
        findings = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        remedy = f"make it first: stiffgrad study --out {folder}"
        raise ValueError(f"folder={str(folder)!r} holds no findings.json; {remedy}") from None
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}; remove it and run the study again") from None
    return save(page(findings), Path(folder) / "study.html")


def page(findings: Mapping[str, Any]) -> str:
    """The page as HTML text."""
    known = [key for key in KEYS if key in findings]
    return render(
        title="Why was the stiff solver slower?",
        subtitle=f"Five suspects, five measured answers; {findings['seeds']} "
        f"start{'' if findings['seeds'] == 1 else 's'} of each network",
        lead=_lead(findings),
        sections=[
            _summary(findings, known),
            *(_section(TITLES[key], findings[key]) for key in known),
            _setting(findings),
        ],
        footer="Made by stiffgrad from saved results. The page needs no network and no second file.",
    )


def markdown(findings: Mapping[str, Any]) -> str:
    """The answers and their tables as Markdown, for the documentation; the pictures are on the page."""
    known = [key for key in KEYS if key in findings]
    parts = ["# Why was the stiff solver slower?", _lead(findings)]
    parts.append("\n".join(f"- {name}: {words}" for name, words in findings["settings"].items()))
    for key in known:
        entry = findings[key]
        parts += [f"## {TITLES[key]}", entry["question"], f"**{entry['answer']}**"]
        for table in entry["evidence"]["tables"]:
            parts += [f"{table['caption']}:", _markdown_table(table), table["note"]]
        parts += [*entry["evidence"]["remarks"], f"```sh\n{entry['command']}\n```"]
    machine = findings["environment"]
    parts.append(
        f"Made on {machine.get('cpu')}, {machine.get('cores')} cores, Python {machine.get('python')}, "
        f"{machine.get('date')}; {findings['seeds']} starts of each network."
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def _markdown_table(table: Mapping[str, Any]) -> str:
    rows = [[table["head"], *table["columns"]], ["---"] * (1 + len(table["columns"])), *table["rows"]]
    return "\n".join("| " + " | ".join(str(value).replace("|", "\\|") for value in row) + " |" for row in rows)


def _lead(findings: Mapping[str, Any]) -> str:
    words = (
        "Training moves the weights along the gradient flow dw/dt = -grad E(w). An experiment solved it with a "
        "stiff ODE "
        "solver, which needed far fewer iterations than gradient descent, and yet more time. A reply named five "
        "suspects. Each is put to the test here; every answer is a sentence that the code makes from the measurements."
    )
    return (
        "A quick run, to see that everything works: its answers mean little. " + words
        if findings.get("quick")
        else words
    )


def _summary(findings: Mapping[str, Any], known: Sequence[str]) -> Section:
    rows = [Row(TITLES[key], [Value(findings[key]["answer"], wide=True)]) for key in known]
    return Section("Answers", [Table("Every question and its answer", "question", ["answer"], rows)])


def _section(title: str, finding: Mapping[str, Any]) -> Section:
    evidence = finding["evidence"]
    blocks: list[Block] = [Text(finding["question"]), Text(finding["answer"])]
    blocks += [_picture(chart) for chart in evidence["charts"]]
    blocks += [_table(table) for table in evidence["tables"]]
    if evidence["remarks"]:
        blocks.append(Listing(evidence["remarks"]))
    return Section(title, [*blocks, Text("This redoes it:", small=True), Code(finding["command"])])


def _setting(findings: Mapping[str, Any]) -> Section:
    flat = {name: value for name, value in findings.get("environment", {}).items() if not isinstance(value, dict)}
    flat |= findings.get("environment", {}).get("packages", {})
    rows = [Row(name, [Value(str(value), wide=True)]) for name, value in flat.items()]
    networks = [f"{name}: {words}" for name, words in findings.get("settings", {}).items()]
    return Section(
        "Networks, data and machine",
        [Listing(networks), Table("Where the results were made", "", ["value"], rows)],
    )


def _table(table: Mapping[str, Any]) -> Table:
    rows, group = [], ""
    for head, *values in table["rows"]:
        start = str(head).split(",")[0]
        rows.append(Row(str(head), [Value(str(value)) for value in values], first=bool(group) and start != group))
        group = start
    return Table(table["caption"], table["head"], table["columns"], rows, note=table["note"])


def _picture(chart: Mapping[str, Any]) -> Picture:
    return Picture(draw(chart), alt=chart["caption"] + ". The table below holds the numbers.", caption=chart["caption"])
