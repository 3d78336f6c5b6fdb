"""The page of the study: every question with its answer, picture, table, and the command that redoes it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from stiffgrad.experiments.study import KEYS
from stiffgrad.report._page import Block, Code, Listing, Picture, Row, Section, Table, Text, Value, render
from stiffgrad.report._style import GREY, figure, label_ends, log_axis, looks, style
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
        subtitle=f"Five suspects, five measured answers; {findings.get('seeds', '?')} starts of each network",
        lead=_lead(findings),
        sections=[
            _summary(findings, known),
            *(_section(TITLES[key], findings[key]) for key in known),
            _setting(findings),
        ],
        footer="Made by stiffgrad from saved results. The page needs no network and no second file.",
    )


def _lead(findings: Mapping[str, Any]) -> str:
    words = (
        "Training moves the weights along the gradient flow dw/dt = -grad E(w). An experiment solved it with a "
        "stiff ODE "
        "solver, which needed far fewer iterations than gradient descent, and yet more time. A reply named five "
        "suspects. Each is put to the test here; every sentence in bold below is made from the measurements."
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


# ---- pictures


def _picture(chart: Mapping[str, Any]) -> Picture:
    drawn = {"lines": _lines, "dots": _dots, "stacked": _stacked}[chart["kind"]](chart)
    return Picture(drawn, alt=chart["caption"] + ". The table below holds the numbers.", caption=chart["caption"])


def _numbers(values: Sequence[Any]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def _lines(chart: Mapping[str, Any]) -> Figure:
    styles = looks(list(chart["curves"]))
    with style():
        picture = figure(6.4, 3.6)
        axes = picture.add_subplot()
        ends = []
        for name, curve in chart["curves"].items():
            x, y = _numbers(curve["x"]), _numbers(curve["y"])
            shown = np.isfinite(x) & np.isfinite(y)
            for axis, values in (("x", x), ("y", y)):
                shown &= (values > 0) if axis in chart["logs"] else True
            if not shown.any():
                continue
            look = styles[name]
            axes.plot(x[shown], y[shown], color=look.colour, linestyle=look.dash)
            axes.plot(x[shown][-1:], y[shown][-1:], color=look.colour, marker=look.marker)
            ends.append((name, float(x[shown][-1]), float(y[shown][-1]), look))
        for axis in chart["logs"] if ends else "":
            log_axis(axes, axis)
        if chart["mark"] is not None:
            axes.axhline(chart["mark"], color=GREY, linewidth=0.8, linestyle=(0, (2, 2)))
        if "left" in chart["x"] or "still there" in chart["x"] or "error" in chart["x"]:
            axes.invert_xaxis()  # training goes from left to right
        axes.set_xlabel(chart["x"])
        axes.set_ylabel(chart["y"])
        picture.draw_without_rendering()
        label_ends(axes, ends)
    return picture


def _dots(chart: Mapping[str, Any]) -> Figure:
    groups = chart["values"]
    styles = looks([name for rows in groups.values() for name in rows])
    tall = max((len(rows) for rows in groups.values()), default=1)
    count = max(1, len(groups))
    columns = min(2, count)
    with style():
        picture = figure(4.6 * columns, (0.9 + 0.25 * tall) * -(-count // columns))
        panels = list(np.ravel(picture.subplots(-(-count // columns), columns, squeeze=False)))
        for axes, (group, rows) in zip(panels, groups.items(), strict=False):
            _dot_panel(axes, group, rows, styles, chart["x"])
        for axes in panels[len(groups) :]:
            axes.set_axis_off()
    return picture


def _dot_panel(axes: Any, group: str, rows: Mapping[str, Sequence[Any]], styles: Mapping[str, Any], label: str) -> None:
    known = np.concatenate([_numbers(values) for values in rows.values()])
    known = known[np.isfinite(known) & (known > 0)]
    low, high = (known.min(), known.max()) if known.size else (0.1, 1.0)
    log_axis(axes, "x")
    edge = high * 3
    axes.set_xlim(low / 2, edge * 1.6)
    for place, (name, values) in enumerate(rows.items()):
        numbers, look = _numbers(values), styles[name]
        found = numbers[np.isfinite(numbers)]
        missed = len(numbers) - len(found)
        axes.plot(found, np.full(len(found), place), look.marker, color=look.colour, alpha=0.6)
        axes.plot(np.full(missed, edge), np.full(missed, place), "x", color=GREY)
    axes.axvline(edge, color=GREY, linewidth=0.5, linestyle=(0, (2, 2)), zorder=0)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_title(f"{group} (x: missed)")
    axes.set_xlabel(label)


def _stacked(chart: Mapping[str, Any]) -> Figure:
    styles = looks(chart["parts"])
    with style():
        picture = figure(6.4, 0.9 + 0.38 * max(1, len(chart["bars"])))
        axes = picture.add_subplot()
        for place, shares in enumerate(chart["bars"].values()):
            left = 0.0
            for part, share in zip(chart["parts"], np.nan_to_num(_numbers(shares)), strict=True):
                axes.barh(place, 100 * share, left=left, color=styles[part].colour, edgecolor="white", height=0.7)
                left += 100 * share
        for part in chart["parts"]:
            axes.barh(0, 0, color=styles[part].colour, label=part)
        axes.set_yticks(range(len(chart["bars"])), list(chart["bars"]))
        axes.invert_yaxis()
        axes.set_xlim(0, 100)
        axes.set_xlabel("share of the wall time, %")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(chart["parts"]), fontsize=8.5)
    return picture
