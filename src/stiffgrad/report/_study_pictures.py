"""Pictures of the study: curves, dots and bars from what `findings.json` holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stiffgrad.report._style import GREY, Look, figure, label_ends, log_axis, looks, place, style, text_inches

WIDTH = 6.8  # inches
ROW = 0.24  # height of one row of a panel, in inches


def draw(chart: Mapping[str, Any]) -> Figure:
    """The figure of a chart of `laboratory.study`: of kind "lines", "panels", "dots" or "bars"."""
    with style():
        return {"lines": _lines, "panels": _panels, "dots": _dots, "bars": _bars}[chart["kind"]](chart)


def _numbers(values: Sequence[Any]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], dtype=float)


Curves = dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]


def _curves(chart: Mapping[str, Any]) -> Curves:
    """The points of each curve that its axes can show."""
    found = {}
    for name, curve in chart["curves"].items():
        x, y = _numbers(curve["x"]), _numbers(curve["y"])
        shown = np.isfinite(x) & np.isfinite(y)
        shown &= (x > 0) | ("x" not in chart["logs"])
        shown &= (y > 0) | ("y" not in chart["logs"])
        if shown.any():
            found[name] = (x[shown], y[shown])
    return found


def _lines(chart: Mapping[str, Any]) -> Figure:
    curves = _curves(chart)
    styles = looks(list(chart["curves"]))
    picture = figure(WIDTH, 3.6)
    axes = place(picture, 0.75, 0.55, WIDTH - text_inches(curves) - 0.5, 3.45)
    _fill(axes, chart, curves, styles)
    label_ends(axes, [(name, float(x[-1]), float(y[-1]), styles[name]) for name, (x, y) in curves.items()])
    return picture


def _fill(axes: Axes, chart: Mapping[str, Any], curves: Curves, styles: Mapping[str, Look]) -> None:
    marks = chart["marks"]
    for axis, which in enumerate("xy"):
        values = [curve[axis] for curve in curves.values()]
        _limits(
            axes,
            which,
            np.concatenate([*values, np.array(list(marks.values()) if axis else [])]),
            which in chart["logs"],
        )
    for name, (x, y) in curves.items():
        dash = "none" if chart["points"] else styles[name].dash
        axes.plot(x, y, color=styles[name].colour, linestyle=dash)
        ends = slice(None) if chart["points"] or len(x) < 12 else slice(-1, None)
        axes.plot(x[ends], y[ends], linestyle="none", color=styles[name].colour, marker=styles[name].marker)
    for words, height in marks.items():
        axes.axhline(height, color=GREY, linewidth=0.8, linestyle=(0, (2, 2)))
        axes.annotate(words, (0.01, height), xycoords=("axes fraction", "data"), fontsize=8, color=GREY, va="bottom")
    if chart["falls"]:
        axes.invert_xaxis()  # training goes from left to right
    axes.set_xlabel(chart["x"])
    axes.set_ylabel(chart["y"])


def _panels(chart: Mapping[str, Any]) -> Figure:
    """Charts two in a row, under one legend."""
    charts = chart["charts"]
    names = list(dict.fromkeys(name for part in charts for name in part["curves"]))
    styles = looks(names)
    rows = -(-len(charts) // 2)
    legend = 0.22 * (1 + len(names) // 5) + 0.1 if len(names) > 1 else 0.1
    height, each = 3.0, WIDTH / 2
    picture = figure(WIDTH, rows * height + legend)
    for index, part in enumerate(charts):
        left, top = (index % 2) * each, rows * height - (index // 2) * height
        axes = place(picture, left + 0.72, top - height + 0.55, left + each - 0.1, top - 0.28)
        _fill(axes, part, _curves(part), styles)
        axes.set_title(part["caption"], fontsize=9)
    if len(names) > 1:
        handles = [
            axes.plot([], [], color=styles[n].colour, linestyle=styles[n].dash, marker=styles[n].marker, label=n)[0]
            for n in names
        ]
        picture.legend(handles=handles, loc="upper center", ncols=5, fontsize=8, frameon=False)
    return picture


def _limits(axes: Axes, which: str, values: NDArray[np.float64], log: bool) -> None:
    low, high = (float(values.min()), float(values.max())) if values.size else (0.1, 1.0)
    if log:
        axes.set(**{f"{which}lim": (low / 1.4, high * 1.4)})
        log_axis(axes, which)
    else:
        gap = 0.04 * (high - low) or 1.0
        axes.set(**{f"{which}lim": (low - gap, high + gap)})


def _dots(chart: Mapping[str, Any]) -> Figure:
    groups = chart["values"]
    names = list(dict.fromkeys(name for rows in groups.values() for name in rows))
    styles = looks(names)
    left = text_inches(names, 9.5) + 0.3
    heights = [ROW * len(rows) + 0.95 for rows in groups.values()]
    picture = figure(WIDTH, sum(heights))
    top = sum(heights)
    for (group, rows), height in zip(groups.items(), heights, strict=True):
        axes = place(picture, left, top - height + 0.58, WIDTH - 0.2, top - 0.32)
        _dot_panel(axes, group, rows, styles)
        axes.set_xlabel(chart["x"])
        top -= height
    return picture


def _dot_panel(axes: Axes, group: str, rows: Mapping[str, Sequence[Any]], styles: Mapping[str, Look]) -> None:
    values = _numbers([value for row in rows.values() for value, _ in row])
    known = values[np.isfinite(values) & (values > 0)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.1, 1.0)
    axes.set_xlim(low / 1.5, high * 1.8)
    log_axis(axes, "x")
    for index, (name, row) in enumerate(rows.items()):
        look = styles[name]
        found = _numbers([value for value, bound in row if not bound])
        missed = _numbers([value for value, bound in row if bound])
        axes.plot(found, np.full(len(found), index), look.marker, color=look.colour, alpha=0.6)
        axes.plot(missed, np.full(len(missed), index), marker="$→$", linestyle="none", color=GREY, markersize=9)
        if any(bound == "never" for _, bound in row):  # one cross for all of them, at the right
            axes.plot([high * 1.6], [index], "x", color=GREY)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_title(f"{group} (arrow: not reached by then; cross: never)")


def _bars(chart: Mapping[str, Any]) -> Figure:
    styles = looks(chart["parts"])
    height = 0.3 * max(1, len(chart["bars"])) + 1.0
    picture = figure(WIDTH, height)
    axes = place(picture, text_inches(chart["bars"], 9.5) + 0.3, 0.55, WIDTH - 0.3, height - 0.42)
    for row, shares in enumerate(chart["bars"].values()):
        left = 0.0
        for part, share in zip(chart["parts"], 100 * np.nan_to_num(_numbers(shares)), strict=True):
            axes.barh(row, share, left=left, color=styles[part].colour, edgecolor="white", height=0.7)
            if share >= 8:
                axes.text(left + share / 2, row, f"{share:.0f}", ha="center", va="center", fontsize=8, color="white")
            left += share
    for part in chart["parts"]:
        axes.barh(0, 0, color=styles[part].colour, label=part)
    axes.set_yticks(range(len(chart["bars"])), list(chart["bars"]))
    axes.set_ylim(len(chart["bars"]) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.set_xlabel(chart["x"])
    axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=len(chart["parts"]), fontsize=8.5)
    return picture
