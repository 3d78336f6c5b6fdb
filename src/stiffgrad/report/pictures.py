"""Pictures of saved results, as matplotlib figures: for the pages, the README and notebooks.

Each takes the cells that `read` returns, and gives a `matplotlib.figure.Figure` that belongs to no window:
save it with `figure.savefig("name.svg")`. A picture of the pages can be saved from the command line too:
`stiffgrad report runs/demo --picture docs/demo.svg`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stiffgrad.report import _measures as measures
from stiffgrad.report._cells import Result, by_label, by_problem
from stiffgrad.report._format import duration, ratio_text
from stiffgrad.report._style import (
    GREY,
    INK,
    Look,
    figure,
    label_ends,
    log_axis,
    looks,
    place,
    short,
    style,
    text_inches,
)

Looks = Mapping[str, Look]

WIDTH = 4.8  # inches: narrow, so that a phone need not shrink the letters much

AXIS_NAMES = {
    "wall_seconds": "wall time in seconds, compilation left out",
    "presentations": "presentations of the training set",
    "flow_time": "time of the gradient flow (no unit)",
    "loss": "training loss, best so far",
    "gradient_norm": "norm of the gradient, smallest so far",
    "step_size": "step (in flow time)",
    "order": "order of the method",
}


def loss_curves(
    cells: Sequence[Result], x: str = "wall_seconds", y: str = "loss", styles: Looks | None = None
) -> Figure:
    """Best loss so far against time or presentations on one problem: median line, range over the seeds.

    Parameters
    ----------
    cells : sequence of Result
        Cells of one problem.
    x : str
        "wall_seconds" or "presentations".
    y : str
        "loss" or "gradient_norm".
    styles : mapping of str to Look, optional
        Looks by label, to share them between pictures.
    """
    groups = {
        label: runs for label, runs in by_label(cells).items() if any(np.isfinite(c.trace[y]).any() for c in runs)
    }
    styles = styles or looks(list(groups))
    curves = {label: [_best_curve(cell, x, y) for cell in runs] for label, runs in groups.items()}
    with style():
        picture = figure(WIDTH, 3.5)
        axes = place(picture, 0.72, 0.5, WIDTH - _label_room(groups), 3.4)
        grid = measures.log_grid([curve for group in curves.values() for curve in group])
        _log_log(axes, grid, curves, _goals(cells, y))
        ends = [(label, *_draw(axes, grid, group, styles[label])) for label, group in curves.items()]
        _draw_targets(axes, _goals(cells, y))
        axes.set_xlabel(AXIS_NAMES[x])
        axes.set_ylabel(AXIS_NAMES[y])
        label_ends(axes, [(label, a, b, styles[label]) for label, a, b in ends])
    return picture


def _best_curve(cell: Result, x: str, y: str) -> measures.Curve:
    """Best value so far; the first row is the start, whatever it took a solver to look at it."""
    return np.append(0.0, cell.trace[x][1:]), measures.best_so_far(cell.trace[y])


def _label_room(labels: Iterable[str]) -> float:
    """Inches to the right of the axes that the names of the lines need."""
    return 0.42 + text_inches(labels)


def _goals(cells: Sequence[Result], y: str) -> dict[str, float]:
    """The targets in the quantity `y`, by name."""
    return {name: target.value for cell in cells for name, target in cell.targets.items() if target.quantity == y}


def _log_log(
    axes: Axes, grid: np.ndarray, curves: Mapping[str, Sequence[measures.Curve]], goals: Mapping[str, float]
) -> None:
    values = np.concatenate([y for group in curves.values() for _, y in group] or [np.empty(0)])
    shown = values[np.isfinite(values) & (values > 0)]
    if shown.size:
        # What diverges would squeeze the rest: show no more than ten times the worst start. And what lies far below
        # the last target was not asked for.
        starts = [y[0] for group in curves.values() for _, y in group if np.isfinite(y[0]) and y[0] > 0]
        high = min(shown.max(), 10 * max(starts, default=shown.max()))
        low = max(shown.min(), min(goals.values(), default=0.0) / 30)
        axes.set_ylim(low / 1.6, max(high * 1.6, low * 10))
    low = grid[0] if grid[0] < grid[-1] else grid[0] / 10
    axes.set_xlim(low, max(grid[-1] * 1.15, low * 10))
    log_axis(axes, "x")
    log_axis(axes, "y", powers=True)


def _draw(
    axes: Axes, grid: np.ndarray, curves: Sequence[measures.Curve], look: Look, log: bool = True
) -> tuple[float, float]:
    """Draw median and range up to the end of the longest run; return where the line ends."""
    ends = [x[np.isfinite(x)].max(initial=grid[0]) for x, _ in curves]
    points = grid[grid <= max(ends) * (1 + 1e-9)]
    points = points if points.size else grid[:1]
    middle, low, high = measures.median_band(curves, points)
    if log:
        floor = axes.get_ylim()[0]
        # A line ends where it leaves the picture.
        shown = np.searchsorted(-middle, -floor) + 1
        points, middle, low, high = (part[:shown] for part in (points, middle, low, high))
        middle, low, high = (np.maximum(part, floor) for part in (middle, low, high))
    if len(curves) > 1:
        axes.fill_between(points, low, high, color=look.colour, alpha=0.15, linewidth=0)
    marked: dict[str, Any] = {"marker": look.marker, "markersize": 3.6, "markevery": max(len(points) // 6, 1)}
    axes.plot(points, middle, color=look.colour, linestyle=look.dash, **marked)
    axes.plot(points[-1:], middle[-1:], color=look.colour, marker=look.marker, linestyle="none")
    return float(points[-1]), float(np.clip(middle[-1], *axes.get_ylim()))


def _draw_targets(axes: Axes, goals: Mapping[str, float]) -> None:
    low, high = axes.get_ylim()
    for name, value in goals.items():
        if low < value < high:
            axes.axhline(value, color=GREY, linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)
            where = (axes.get_xlim()[0], value)
            axes.annotate(f"{name} target", where, (3, 2), textcoords="offset points", fontsize=8, color=GREY)


def score_curves(cells: Sequence[Result], part: str = "train", styles: Looks | None = None) -> Figure:
    """Accuracy (or R²) against wall time on one problem: median line, range over the seeds.

    Parameters
    ----------
    cells : sequence of Result
        Cells of one problem.
    part : str
        "train" for the training set, "test" for the held-out part.
    styles : mapping of str to Look, optional
        Looks by label, to share them between pictures.
    """
    groups = {label: _scored(runs, part) for label, runs in by_label(cells).items()}
    groups = {label: curves for label, curves in groups.items() if curves}
    styles = styles or looks(list(groups))
    name = {"accuracy": "accuracy", "R2": "R²"}.get(cells[0].score_name, cells[0].score_name)
    with style():
        picture = figure(WIDTH, 3.1)
        axes = place(picture, 0.72, 0.5, WIDTH - _label_room(groups), 3.0)
        grid = measures.log_grid([curve for curves in groups.values() for curve in curves])
        axes.set_xlim(grid[0], max(grid[-1] * 1.15, grid[0] * 10))
        log_axis(axes, "x")
        axes.set_ylim(*_score_limits([y for curves in groups.values() for _, y in curves], name))
        if name == "accuracy":
            axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}%" if value <= 1.0001 else "")
        ends = [(label, *_draw(axes, grid, curves, styles[label], log=False)) for label, curves in groups.items()]
        axes.set_xlabel(AXIS_NAMES["wall_seconds"])
        axes.set_ylabel(f"{name}, {'training set' if part == 'train' else 'held-out data'}")
        label_ends(axes, [(label, a, b, styles[label]) for label, a, b in ends])
    return picture


def _scored(cells: Sequence[Result], part: str) -> list[measures.Curve]:
    curves = []
    for cell in cells:
        known = np.isfinite(cell.scores[part])
        if known.any():
            curves.append((cell.scores["wall_seconds"][known], cell.scores[part][known]))
    return curves


def _score_limits(columns: Sequence[np.ndarray], name: str) -> tuple[float, float]:
    values = np.concatenate([*columns, np.empty(0)])
    low = float(values.min(initial=1.0))
    if name == "R²":
        # A start can be worse than any constant by far; below -0.5 nothing is to be told apart.
        low = max(low, -0.5)
    return low - 0.03 * (1 - low) - 1e-3, 1 + 0.03 * (1 - low) + 1e-3


def time_to_target(
    cells: Sequence[Result],
    target: str | Mapping[str, str] = "medium",
    styles: Looks | None = None,
    columns: int = 2,
    width: float = 5.2,
) -> Figure:
    """Wall time to a target, one panel a problem: a dot for each seed's run, a large one for the median.

    Parameters
    ----------
    cells : sequence of Result
        Cells of any number of problems.
    target : str or mapping
        "easy", "medium" or "deep", for all problems or for each.
    styles : mapping of str to Look, optional
        Looks by label, to share them between pictures.
    columns : int
        Panels side by side.
    width : float
        Inches of each panel.
    """
    problems = by_problem(cells)
    styles = styles or looks([cell.label for cell in cells])
    columns = min(columns, len(problems))
    heights = [0.98 + 0.27 * len(by_label(group)) for group in problems.values()]
    rows = [max(heights[first : first + columns]) for first in range(0, len(heights), columns)]
    names = text_inches((cell.label for cell in cells), 9.5)
    with style():
        picture = figure(width * columns, sum(rows))
        for index, (problem, group) in enumerate(problems.items()):
            row, column = divmod(index, columns)
            top = sum(rows[row:]) - 0.48
            bottom = top - heights[index] + 0.98
            left = width * column
            axes = place(picture, left + names + 0.15, bottom, left + width - 1.55, top)
            chosen = target if isinstance(target, str) else target[problem]
            _panel(axes, chosen, group, styles)
            where = ((left + 0.08) / picture.get_figwidth(), (top + 0.27) / picture.get_figheight())
            picture.text(*where, f"{short(problem)}: {_goal(group, chosen)}", fontsize=10.5, fontweight="bold")
    return picture


def _panel(axes: Axes, target: str, cells: Sequence[Result], styles: Looks) -> None:
    reached = {label: measures.reach(runs, target) for label, runs in by_label(cells).items()}
    factors = measures.ratios(reached)
    order = sorted(reached, key=lambda label: (reached[label].bound, reached[label].median))
    budget = max(cell.seconds for cell in cells)
    fastest = min(float(found.costs.min()) for found in reached.values())
    axes.set_xlim(max(fastest, 1e-6) / 1.6, max(budget, fastest * 10) * 1.3)
    log_axis(axes, "x")
    axes.axvline(budget, color=GREY, linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)
    for height, label in enumerate(order):
        found, look = reached[label], styles[label]
        small: dict[str, Any] = {"markersize": 4, "alpha": 0.4, "markeredgewidth": 0, "linestyle": "none"}
        axes.plot(found.costs, np.full(found.runs, height), marker=look.marker, color=look.colour, **small)
        large: dict[str, Any] = {
            "markersize": 8,
            "markeredgewidth": 1.6,
            "markerfacecolor": "white" if found.bound else look.colour,
        }
        axes.plot([found.median], [height], marker=look.marker, color=look.colour, **large)
    for words, inches in zip(_beside(order, reached, factors), (0.58, 1.12, 1.5), strict=True):
        for height, word in enumerate(words, start=-1):
            _right_of(axes, word, height, inches, GREY if height < 0 else INK)
    axes.set_yticks(range(len(order)), map(short, order))
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("seconds to the target")


def _goal(cells: Sequence[Result], target: str) -> str:
    """A target in words, with its value."""
    found = next((cell.targets[target] for cell in cells if target in cell.targets), None)
    value = "" if found is None else f" ({found.quantity.replace('_', ' ')} {found.value:g})"
    return f"{target} target{value}"


def _beside(
    order: Sequence[str], reached: Mapping[str, measures.Reach], factors: Mapping[str, float]
) -> list[list[str]]:
    """The three columns of numbers right of a panel, each under its heading."""
    found = [reached[label] for label in order]
    return [
        ["median", *(duration(one.median, one.bound) for one in found)],
        ["ratio", *(ratio_text(factors[label], reached[label].bound) for label in order)],
        ["runs", *(f"{one.hits}/{one.runs}" for one in found)],
    ]


def _right_of(axes: Axes, text: str, height: float, inches: float, colour: str) -> None:
    axes.annotate(
        text, (1, height), (72 * inches, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
        ha="right", va="center", fontsize=8.5, color=colour, annotation_clip=False,
    )  # fmt: skip


def maps(cells: Sequence[Result]) -> Figure:
    """The solution of an equation, what each solver found from its first start, and the error, over the plane.

    Parameters
    ----------
    cells : sequence of Result
        Cells of one problem, those with a field.
    """
    shown = [(label, field) for label, runs in by_label(cells).items() if (field := runs[0].field) is not None]
    exact = shown[0][1].exact
    errors = [np.abs(field.found - exact) for _, field in shown]
    highest = np.log10(max(_largest(errors), 1e-15))
    typical = [float(np.nanmedian(error)) for error in errors if np.isfinite(error).any()]
    lowest = min(np.log10(max(min(typical, default=1.0), 1e-16)), highest) - 1.0
    with style():
        picture = figure(WIDTH, 0.5 + 1.35 * (len(shown) + 1))
        height = picture.get_size_inches()[1]

        def panel(row: int, column: int, values: np.ndarray, title: str, **scale: Any) -> None:
            left, top = 0.55 + 2.2 * column, height - 0.3 - 1.35 * row
            axes = place(picture, left, top - 0.95, left + 1.55, top)
            sides = shown[0][1].sides
            drawn = axes.imshow(
                values.T, origin="lower", extent=(*sides[0], *sides[1]), aspect="auto", rasterized=True, **scale
            )
            axes.set_title(title, fontsize=8, loc="left")
            axes.grid(visible=False)
            axes.tick_params(labelsize=7)
            axes.locator_params(nbins=4)
            axes.yaxis.set_visible(column == 0)
            bar = picture.colorbar(drawn, cax=place(picture, left + 1.62, top - 0.95, left + 1.7, top))
            bar.ax.tick_params(labelsize=7)

        around = {"vmin": float(exact.min()), "vmax": float(exact.max()), "cmap": "viridis"}
        panel(0, 0, exact, "exact solution", **around)
        for row, ((label, field), error) in enumerate(zip(shown, errors, strict=True), start=1):
            panel(row, 0, field.found, short(label), **around)
            decades = np.log10(np.maximum(error, 10.0**lowest))
            panel(row, 1, decades, "log10 of its error", vmin=lowest, vmax=highest, cmap="magma")
    return picture


def _largest(errors: Sequence[np.ndarray]) -> float:
    known = np.concatenate([error[np.isfinite(error)] for error in errors])
    return float(known.max(initial=0.0))


def step_and_order(cells: Sequence[Result], styles: Looks | None = None) -> Figure:
    """Step size and order of the ODE solvers along the run, on one problem; one seed, the first, of each solver.

    Parameters
    ----------
    cells : sequence of Result
        Cells of one problem; those without an order in their trace are left out.
    styles : mapping of str to Look, optional
        Looks by label, to share them between pictures.
    """
    groups = by_label([cell for cell in cells if cell.is_ode])
    styles = styles or looks(list(groups))
    with style():
        picture = figure(WIDTH, 4.3)
        right = WIDTH - _label_room(groups)
        upper = place(picture, 0.78, 1.85, right, 4.2)
        lower = place(picture, 0.78, 0.5, right, 1.65, sharex=upper)
        ends, top = [], 1.0
        for label, runs in groups.items():
            trace = runs[0].trace
            known = (trace["flow_time"] > 0) & (trace["step_size"] > 0)
            if not known.any():
                continue
            time, step, order = (trace[name][known] for name in ("flow_time", "step_size", "order"))
            look = styles[label]
            upper.plot(time, step, color=look.colour, linestyle=look.dash, linewidth=1.2)
            upper.plot(time[-1:], step[-1:], color=look.colour, marker=look.marker)
            lower.step(time, order, color=look.colour, linestyle=look.dash, linewidth=1.4, where="post")
            lower.plot(time[-1:], order[-1:], color=look.colour, marker=look.marker)
            ends.append((label, float(time[-1]), float(step[-1]), look))
            top = max(top, float(np.nanmax(order, initial=1.0)))
        log_axis(upper, "x")
        log_axis(upper, "y")
        upper.tick_params(labelbottom=False)
        upper.set_ylabel(AXIS_NAMES["step_size"])
        lower.set_ylabel("order")
        lower.set_ylim(0, top + 0.6)
        lower.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        lower.set_xlabel(AXIS_NAMES["flow_time"])
        label_ends(upper, ends)
    return picture
