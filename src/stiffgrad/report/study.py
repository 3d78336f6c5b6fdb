"""The study's page and its chapter of the documentation: for every question a verdict, a figure and three sentences."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stiffgrad.laboratory.study import KEYS, TITLES
from stiffgrad.report._page import Block, Code, Line, Listing, Picture, Section, Table, Text, Value, render
from stiffgrad.report._study_pictures import draw
from stiffgrad.report._style import image
from stiffgrad.report.comparison import save

LEAD = (
    "Training moves the weights along the gradient flow dw/dt = -grad E(w). An experiment solved it with a stiff ODE "
    "solver. It needed far fewer iterations than gradient descent, and yet more time. A reply named five "
    "suspects. Each "
    "is put to the test here."
)
PRELIMINARY = {
    "quick": "A quick run, to see that everything works: its answers mean nothing. ",
    "long": "A run of an hour: three starts, and budgets five times those of half an hour. ",
    "medium": "A run of half an hour: three starts, and budgets that end some runs early. ",
    "short": "A short run: few starts, and budgets that end some runs early. ",
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
    starts = f"{findings['seeds']} start{'' if findings['seeds'] == 1 else 's'} of each network"
    return render(
        title="Why was the stiff solver slower?",
        subtitle=f"Five suspects, five measured answers; {starts}",
        lead=_lead(findings),
        sections=[
            _summary(findings, known),
            *(_section(TITLES[key], findings[key]) for key in known),
            Section("All numbers", [block for key in known for block in _tables(TITLES[key], findings[key])]),
            _setting(findings),
        ],
        footer="Made by stiffgrad from saved results. The page needs no network and no second file.",
    )


def write_markdown(findings: Mapping[str, Any], path: Path) -> None:
    """Write the chapter to `path`, and its figures as SVG into a folder of that name beside it."""
    folder = path.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    for key in KEYS:
        if key in findings:
            (folder / f"{key}.svg").write_bytes(image(draw(findings[key]["figure"]), "svg"))
    save(markdown(findings, folder.name), path)


def markdown(findings: Mapping[str, Any], figures: str = "findings") -> str:
    """The chapter as Markdown: figures from a folder beside it, tables folded away."""
    known = [key for key in KEYS if key in findings]
    parts = ["# Why was the stiff solver slower?", _lead(findings)]
    verdicts = [[TITLES[key], findings[key]["verdict"]] for key in known]
    parts.append(_markdown_table({"head": "question", "columns": ["verdict"], "rows": verdicts}))
    for key in known:
        entry = findings[key]
        parts += [f"## {TITLES[key]}", entry["question"], f"**Verdict: {entry['verdict']}.**"]
        parts.append("\n".join(f"- {sentence}" for sentence in entry["sentences"]))
        parts.append(f"![{entry['figure']['caption']}]({figures}/{key}.svg)")
        parts.append(f"*{entry['figure']['caption']}.*")
        for table in entry["tables"]:
            parts += [
                f'<details markdown="1"><summary>{table["caption"]}</summary>',
                _markdown_table(table),
                "</details>",
            ]
        parts += entry["remarks"]
    networks = "\n".join(f"- {line}" for line in _networks(findings))
    machine = findings["environment"]
    made = (
        f"Made on {machine.get('cpu')}, {machine.get('cores')} cores, Python {machine.get('python')}, "
        f"{machine.get('date')}, code {machine.get('code')}; {findings['seeds']} starts of each network."
    )
    command = f"```sh\nstiffgrad study --scale {findings['scale']} --markdown docs/findings.md\n```"
    parts += ["## Networks and machine", networks, made, "This makes all of it anew, and resumes:", command]
    return "\n\n".join(part for part in parts if part) + "\n"


def _networks(findings: Mapping[str, Any]) -> list[str]:
    """A line a network; its description begins with the problem's name."""
    return [f"{name}: {words.split(': ', 1)[-1]}" for name, words in findings["networks"].items()]


def _markdown_table(table: Mapping[str, Any]) -> str:
    rows = [[table["head"], *table["columns"]], ["---"] * (1 + len(table["columns"])), *table["rows"]]
    return "\n".join("| " + " | ".join(str(value).replace("|", "\\|") for value in row) + " |" for row in rows)


def _lead(findings: Mapping[str, Any]) -> str:
    return PRELIMINARY.get(findings["scale"], "") + LEAD


def _summary(findings: Mapping[str, Any], known: Sequence[str]) -> Section:
    rows = [Line(TITLES[key], [Value(findings[key]["verdict"], wide=True)]) for key in known]
    return Section("Verdicts", [Table("Every question and its verdict", "question", ["verdict"], rows)])


def _section(title: str, finding: Mapping[str, Any]) -> Section:
    blocks: list[Block] = [
        Text(finding["question"]),
        Text(f"Verdict: {finding['verdict']}."),
        Listing(finding["sentences"]),
        _picture(finding["figure"]),
    ]
    if finding["remarks"]:
        blocks += [Text(remark, small=True) for remark in finding["remarks"]]
    return Section(title, blocks)


def _tables(title: str, finding: Mapping[str, Any]) -> list[Block]:
    return [_table(title, table) for table in finding["tables"]]


def _setting(findings: Mapping[str, Any]) -> Section:
    flat = {name: value for name, value in findings["environment"].items() if not isinstance(value, dict)}
    flat |= findings["environment"].get("packages", {})
    rows = [Line(name, [Value(str(value), wide=True)]) for name, value in flat.items()]
    networks = _networks(findings)
    command = f"stiffgrad study --scale {findings['scale']}"
    return Section(
        "Networks, data and machine",
        [
            Listing(networks),
            Table("Where the results were made", "", ["value"], rows),
            Text("This makes all of it anew, and resumes:", small=True),
            Code(command),
        ],
    )


def _table(title: str, table: Mapping[str, Any]) -> Table:
    rows, group = [], ""
    for head, *values in table["rows"]:
        start = str(head).split(",")[0]
        rows.append(Line(str(head), [Value(str(value)) for value in values], first=bool(group) and start != group))
        group = start
    return Table(f"{title}: {table['caption']}", table["head"], table["columns"], rows)


def _picture(chart: Mapping[str, Any]) -> Picture:
    return Picture(draw(chart), alt=chart["caption"] + ". The tables below hold the numbers.", caption=chart["caption"])
