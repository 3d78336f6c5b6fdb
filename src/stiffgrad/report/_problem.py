"""One problem's section of the comparison: curves, times to targets, final state, counts, outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from stiffgrad.report import _measures as measures
from stiffgrad.report import pictures
from stiffgrad.report._cells import Result, by_label, describe_problem
from stiffgrad.report._format import DASH, count, duration, number, percent, ratio_text
from stiffgrad.report._page import Block, Heading, Line, Listing, Pair, Picture, Section, Table, Text, Value
from stiffgrad.report._style import Look

Looks = Mapping[str, Look]

COUNT_NAMES = {
    "steps": "steps",
    "rejected_steps": "rejected steps",
    "error_test_failures": "error-test failures",
    "newton_iterations": "Newton iterations",
    "newton_failures": "Newton failures",
    "rhs_evaluations": "gradients",
    "jacobian_evaluations": "Jacobians",
    "hessian_products": "Hessian products",
    "factorizations": "factorizations",
    "presentations": "presentations",
}


def problem_section(problem: str, cells: Sequence[Result], styles: Looks) -> Section:
    """Everything the page says about one problem."""
    blocks: list[Block] = [_intro(cells), _curves(cells, styles)]
    blocks += [Heading("Time to each target"), _targets(cells), _presentations(cells)]
    if _has_scores(cells):
        blocks += [Heading(f"{_score(cells)} along the run"), _score_pictures(cells, styles)]
    if any(cell.field is not None for cell in cells):
        blocks += [Heading("The solution, and where it is wrong"), _maps(cells)]
    blocks += [Heading("Where each solver ended"), _final(cells), *_messages(cells)]
    blocks += [Heading("What the solvers did inside"), _counts(cells)]
    if _score(cells) == "Accuracy" and _has_scores(cells):
        blocks += [_bands(cells)]
    if any(cell.is_ode for cell in cells):
        blocks += [_steps(cells, styles)]
    return Section(problem, blocks)


def _score(cells: Sequence[Result]) -> str:
    return {"accuracy": "Accuracy", "R2": "R²"}.get(cells[0].score_name, cells[0].score_name)


def _has_scores(cells: Sequence[Result]) -> bool:
    return any(np.isfinite(cell.scores["train"]).any() for cell in cells)


def _intro(cells: Sequence[Result]) -> Text:
    wanted = {name: target for cell in cells for name, target in cell.targets.items()}
    told = ", ".join(
        f"{name} ({'loss' if t.quantity == 'loss' else 'norm of the gradient'} {number(t.value)})"
        for name, t in wanted.items()
    )
    seeds = len({cell.seed for cell in cells})
    budget = duration(max(cell.seconds for cell in cells))
    starts = "1 start" if seeds == 1 else f"{seeds} starts"
    goals = f" The targets were fixed before the runs: {told}." if told else ""
    line = describe_problem(cells[0].problem)
    task = f"The task: {line} (the numbers joined by dashes are the units of each layer). " if line else ""
    return Text(f"{task}Each solver had {budget} from each of {starts}.{goals}")


def _curves(cells: Sequence[Result], styles: Looks) -> Pair:
    quantities = ["loss"]
    if any(target.quantity == "gradient_norm" for cell in cells for target in cell.targets.values()):
        quantities.append("gradient_norm")
    shown = []
    for y in quantities:
        what = "Training loss" if y == "loss" else "Norm of the gradient"
        for x, against in (("wall_seconds", "wall time"), ("presentations", "presentations of the training set")):
            finals = ", ".join(f"{label} {number(_final_median(runs, y))}" for label, runs in by_label(cells).items())
            alt = f"{what} against {against}, both axes logarithmic, one line a solver. Lowest value reached: {finals}."
            caption = f"{what} against {against}: lower and further left is better. Line: median over the starts"
            caption += "; band: their range." if len({c.seed for c in cells}) > 1 else " (here one)."
            shown.append(Picture(pictures.loss_curves(cells, x, y, styles), alt, caption))
    return Pair(shown)


def _final_median(runs: Sequence[Result], y: str) -> float:
    return measures.median([float(np.fmin.reduce(cell.trace[y])) for cell in runs])


def _score_pictures(cells: Sequence[Result], styles: Looks) -> Pair:
    shown = []
    for part, words in (("train", "training set"), ("test", "held-out data")):
        if any(np.isfinite(cell.scores[part]).any() for cell in cells):
            finals = ", ".join(
                f"{label} {_written(cells, measures.median([measures.last(c.scores[part]) for c in runs]))}"
                for label, runs in by_label(cells).items()
            )
            alt = f"{_score(cells)} on the {words} against wall time, one line a solver. At the end: {finals}."
            caption = f"{_score(cells)} on the {words} against wall time: higher and further left is better."
            shown.append(Picture(pictures.score_curves(cells, part, styles), alt, caption))
    return Pair(shown)


def _maps(cells: Sequence[Result]) -> Picture:
    drawn = [cell for cell in cells if cell.field is not None]
    worst = ", ".join(
        f"{label} {number(float(np.nanmax(np.abs(field.found - field.exact))))}"
        for label, runs in by_label(drawn).items()
        if (field := runs[0].field) is not None and np.isfinite(field.found).any()
    )
    return Picture(
        pictures.maps(drawn),
        alt=f"Exact solution, what each solver found, and its error over the plane. Largest error: {worst}.",
        caption="The first start of each solver: what it found (left), on the colours of the exact solution, and the "
        "logarithm of its error (right), on one scale for all. Horizontal: the first coordinate.",
    )


def _written(cells: Sequence[Result], value: float) -> str:
    return percent(value) if cells[0].score_name == "accuracy" else number(value)


def _target_names(cells: Sequence[Result]) -> list[str]:
    return list(dict.fromkeys(name for cell in cells for name in cell.targets))


def _targets(cells: Sequence[Result]) -> Table:
    """Median wall time to each target, its ratio to the fastest, and the runs that got there."""
    groups, names = by_label(cells), _target_names(cells)
    found = {name: {label: measures.reach(runs, name) for label, runs in groups.items()} for name in names}
    factors = {name: measures.ratios(found[name]) for name in names}
    rows = []
    for label in groups:
        entries = []
        for name in names:
            reached, factor = found[name][label], factors[name][label]
            best = factor == 1 and not reached.bound
            entries.append(Value(duration(reached.median, reached.bound), strong=best, quiet=reached.bound))
            entries.append(Value(ratio_text(factor, reached.bound), strong=best, quiet=reached.bound))
            entries.append(Value(f"{reached.hits}/{reached.runs}", quiet=reached.bound))
        rows.append(Line(label, entries))
    return Table(
        "Wall time to each target",
        "solver",
        ["time", "× fastest", "reached"] * len(names),
        rows,
        groups=[(name, 3) for name in names],
        note="Median over the starts; a run that missed the target counts as the whole budget. Bold: the fastest.",
    )


def _presentations(cells: Sequence[Result]) -> Table:
    """The same in presentations, which do not depend on the machine."""
    groups, names = by_label(cells), _target_names(cells)
    found = {
        name: {label: measures.reach(runs, name, "presentations") for label, runs in groups.items()} for name in names
    }
    factors = {name: measures.ratios(found[name]) for name in names}
    rows = []
    for label in groups:
        entries = []
        for name in names:
            reached, factor = found[name][label], factors[name][label]
            best = factor == 1 and not reached.bound
            written = count(reached.median)
            entries.append(Value(f">{written}" if reached.bound else written, strong=best, quiet=reached.bound))
            entries.append(Value(ratio_text(factor, reached.bound), strong=best, quiet=reached.bound))
        rows.append(Line(label, entries))
    return Table(
        "Presentations of the training set to each target",
        "solver",
        ["presentations", "× fewest"] * len(names),
        rows,
        groups=[(name, 2) for name in names],
        note="Where a target was missed: the presentations spent until the end of the run.",
    )


def _final(cells: Sequence[Result]) -> Table:
    groups = by_label(cells)
    scored = _has_scores(cells)
    tuned = any(np.isfinite(cell.learning_rate) for cell in cells)
    parts = [("", ["loss", "gradient norm"])]
    parts += [(_score(cells), ["training", "held out"])] if scored else []
    parts += [("time", ["solving", "compiling", "in all"])]
    parts += [("learning rate", ["best", "time to tune"])] if tuned else []
    parts += [("", ["outcome (runs)"])]
    rows = []
    for label, runs in groups.items():
        entries = [Value(number(measures.median([c.loss for c in runs])))]
        entries += [Value(number(measures.median([c.gradient_norm for c in runs])))]
        for part in ("train", "test") if scored else ():
            entries.append(Value(_written(cells, measures.median([measures.last(c.scores[part]) for c in runs]))))
        for name in ("wall_seconds", "compile_seconds", "total_seconds"):
            # A second run in a process finds its programs compiled.
            fresh = [c for c in runs if c.first_in_process] if name != "wall_seconds" else runs
            entries.append(Value(duration(measures.median([getattr(c, name) for c in fresh or runs]))))
        if tuned:
            rates = sorted({c.learning_rate for c in runs if np.isfinite(c.learning_rate)})
            entries.append(Value(", ".join(f"{rate:g}" for rate in rates) or DASH))
            entries.append(Value(duration(measures.median([c.tuning_seconds for c in runs]))))
        entries.append(Value(_outcomes(runs), wide=True))
        rows.append(Line(label, entries))
    return Table(
        "State at the end of the runs, and time spent",
        "solver",
        [column for _, columns in parts for column in columns],
        rows,
        groups=[(name, len(columns)) for name, columns in parts],
        note=_final_note(tuned),
    )


def _final_note(tuned: bool) -> str:
    note = "Medians over the starts. “In all” is the first call in a fresh process, with compiling. "
    if tuned:
        note += "Learning rates are the best of a grid on other starts; the time that took is not part of the others."
    return note


def _outcomes(runs: Sequence[Result]) -> str:
    tally: dict[str, int] = {}
    for cell in runs:
        words = cell.outcome.value.split(":")[0]
        tally[words] = tally.get(words, 0) + 1
    return ", ".join(f"{words} ({times})" for words, times in tally.items())


def _messages(cells: Sequence[Result]) -> list[Block]:
    """The solvers' own words about runs that did not end as asked for, each once."""
    said: dict[str, list[str]] = {}
    for cell in cells:
        if not cell.outcome.success:
            # The seed is told beside it, and the solver's name opens the message already.
            words = cell.message.removeprefix(f"{cell.solver}: ")
            said.setdefault(f"{cell.label}: {words}", []).append(str(cell.seed))
    if not said:
        return []
    items = [f"{words} (seed{'' if len(seeds) == 1 else 's'} {', '.join(seeds)})" for words, seeds in said.items()]
    return [Text("What the solvers said of runs that ended before the last target:", small=True), Listing(items)]


def _counts(cells: Sequence[Result]) -> Table:
    groups = by_label(cells)
    known = [name for name in COUNT_NAMES if any(np.isfinite(c.statistics.get(name, np.nan)) for c in cells)]
    rows = [
        Line(label, [Value(count(measures.median([c.statistics.get(n, np.nan) for c in runs]))) for n in known])
        for label, runs in groups.items()
    ]
    return Table(
        "Counts of the whole run",
        "solver",
        [COUNT_NAMES[name] for name in known],
        rows,
        note="Medians over the starts; “–”: the solver cannot tell. A step is rejected when its error estimate is too "
        "large (error test) or when Newton's method for the implicit step does not converge.",
    )


def _bands(cells: Sequence[Result]) -> Table:
    """Counts by band of training accuracy: where in the training the work was spent."""
    names = [name for name in COUNT_NAMES if any(_told(cell, name) for cell in cells)]
    rows = []
    for label, runs in by_label(cells).items():
        spent = [measures.band_counts(cell, [*names, "wall_seconds"]) for cell in runs]
        for index, band in enumerate(measures.BAND_NAMES):
            inside = [found for run in spent if (found := run[index]) is not None]
            if not inside:
                continue
            head = f"{label}, {band}"
            entries = [Value(duration(measures.median([one["wall_seconds"] for one in inside])))]
            entries += [Value(count(measures.median([one[name] for one in inside]))) for name in names]
            rows.append(Line(head, entries, first=index == 0))
    return Table(
        "Counts by band of training accuracy",
        "solver, accuracy",
        ["time", *(COUNT_NAMES[name] for name in names)],
        rows,
        note="What a run spent while its best accuracy so far lay in the band. Accuracy is looked at now and then, so "
        "a quick run may jump over a band, which then counts 0. Medians over the starts that reached the band; bands "
        "that a solver never reached are left out.",
    )


def _told(cell: Result, name: str) -> bool:
    return name in cell.trace and bool(np.isfinite(cell.trace[name][1:]).any())


def _steps(cells: Sequence[Result], styles: Looks) -> Picture:
    ode = by_label([cell for cell in cells if cell.is_ode])
    highest = {label: np.nanmax([np.nanmax(cell.trace["order"]) for cell in runs]) for label, runs in ode.items()}
    orders = ", ".join(f"{label} {order:.0f}" for label, order in highest.items())
    return Picture(
        pictures.step_and_order(cells, styles),
        alt=f"Step size and order of the ODE solvers against flow time, from the first start. Highest order: {orders}.",
        caption="Step size and order of the ODE solvers along the run, from the first start. A stiff solver lengthens "
        "its steps as the fast directions settle; a non-stiff one is held back by them. Only orders 1 and 2 of "
        "the BDF methods (vode, lsoda, bdf, cvode) are stable for every stiff flow.",
    )
