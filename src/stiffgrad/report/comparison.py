"""The page of a comparison: what `stiffgrad compare` saved, as one HTML file to read and to hand on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from stiffgrad import _archive
from stiffgrad.laboratory.problems import LEVELS
from stiffgrad.report import _measures as measures
from stiffgrad.report import pictures
from stiffgrad.report._cells import Damage, Result, by_label, by_problem, comparable, describe_solver, holes, read
from stiffgrad.report._format import duration, ratio_text
from stiffgrad.report._page import Block, Code, Line, Listing, Picture, Section, Table, Text, Value, render
from stiffgrad.report._problem import problem_section
from stiffgrad.report._style import Look, image, looks

FORMATS = (".svg", ".pdf", ".png")
MAX_CLAUSES = 3  # more problems than that are counted, not told one by one


def write(folder: str | Path) -> Path:
    """Write `index.html` from the result cells of a folder, and return its path.

    The page is one file with its pictures inside. Cells that are damaged or missing are listed on it.

    Parameters
    ----------
    folder : str or Path
        Where `stiffgrad compare --out` saved its results.

    Raises
    ------
    ValueError
        If the folder does not exist, holds no readable result or cannot be written to.

    Examples
    --------
    >>> write("runs/nothing-here")
    Traceback (most recent call last):
    ...
    ValueError: folder='runs/nothing-here' does not exist or is no folder; make some first: stiffgrad compare ...
    """
    cells, damages = read(folder)
    return save(page(cells, damages, folder), Path(folder) / "index.html")


def save(html: str, path: Path) -> Path:
    """Write a page in one go: a reader sees the old one or the new one, never half of it."""
    try:
        _archive.sweep(path)
        with _archive.replacing(path) as file:
            file.write(html.encode("utf-8"))
    except OSError as error:
        raise ValueError(f"folder={str(path.parent)!r} cannot be written to: {error.strerror}") from error
    return path


def write_picture(folder: str | Path, path: str | Path) -> Path:
    """Save the picture at the top of the page, time to a target by solver, as a file of its own.

    Parameters
    ----------
    folder : str or Path
        Where `stiffgrad compare --out` saved its results.
    path : str or Path
        Where to; its ending says how: .svg, .pdf or .png.

    Raises
    ------
    ValueError
        As `write`, and for an ending that is none of these or a file that cannot be written.
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        raise ValueError(f"picture={str(path)!r} must end in one of {', '.join(FORMATS)}")
    cells, _ = comparable(read(folder)[0])
    chosen = {problem: _telling_target(group) for problem, group in by_problem(cells).items()}
    picture = pictures.time_to_target(cells, chosen)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image(picture, path.suffix[1:]))
    except OSError as error:
        raise ValueError(f"picture={str(path)!r} cannot be written: {error.strerror}") from error
    return path


def page(cells: Sequence[Result], damages: Sequence[Damage], folder: str | Path) -> str:
    """The page as HTML text; see `write`."""
    cells, left_out = comparable(cells)
    styles = looks([cell.label for cell in cells])
    problems = by_problem(cells)
    chosen = {problem: _telling_target(group) for problem, group in problems.items()}
    sections = [_summary(cells, chosen, styles)]
    sections += [problem_section(problem, group, styles) for problem, group in problems.items()]
    sections += [*_gaps(cells, damages, left_out), _methods(cells), _redo(cells, folder)]
    seeds = len({cell.seed for cell in cells})
    return render(
        title="Training by solving an ODE, and by gradient descent",
        subtitle=f"{_many(len(problems), 'problem')}, {_many(len(styles), 'solver')}, {_many(seeds, 'start')} each: "
        f"a comparison made by stiffgrad",
        lead=_sentence(problems, chosen),
        sections=sections,
        footer="Made by stiffgrad from saved results. The page needs no network and no second file.",
    )


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _telling_target(cells: Sequence[Result]) -> str:
    """The target that tells most: the deepest one that a solver reached from most starts."""
    known = [name for name in LEVELS if any(name in cell.targets for cell in cells)] or list(cells[0].targets)
    for name in [name for name in ("deep", "medium", "easy") if name in known]:
        if any(not measures.reach(runs, name).bound for runs in by_label(cells).values()):
            return name
    return known[0] if known else "easy"


def _sentence(problems: Mapping[str, Sequence[Result]], chosen: Mapping[str, str]) -> str:
    """Who was fastest where, in a sentence; the same rule for every solver."""
    order: dict[str, list[tuple[float, str]]] = {}
    for problem, group in problems.items():
        reached = {label: measures.reach(runs, chosen[problem]) for label, runs in by_label(group).items()}
        order[problem] = sorted((found.median, label) for label, found in reached.items() if not found.bound)
    if len(problems) > MAX_CLAUSES:
        wins = Counter(there[0][1] for there in order.values() if there)
        told = ", ".join(f"{label} on {count}" for label, count in wins.most_common())
        return f"Of {len(problems)} problems, these solvers reached the target first: {told or 'none'}."
    text = "; ".join(_clause(problem, chosen[problem], there) for problem, there in order.items()) + "."
    return text[0].upper() + text[1:]


def _clause(problem: str, target: str, there: Sequence[tuple[float, str]]) -> str:
    if not there:
        return f"on {problem}, no solver reached the {target} target from most starts"
    clause = f"on {problem}, {there[0][1]} reached the {target} target first, in {duration(there[0][0])}"
    if len(there) > 1 and there[0][0] > 0:
        clause += f", {ratio_text(there[1][0] / there[0][0])[:-1]} times faster than the next, {there[1][1]}"
    return clause


def _summary(cells: Sequence[Result], chosen: Mapping[str, str], styles: Mapping[str, Look]) -> Section:
    count = len({cell.seed for cell in cells})
    caption = (
        "How long each solver trained until the loss had fallen to the target: further left is faster. "
        "A small mark is one run, the large one the median over the starts; it is hollow where most runs missed the "
        "target, which counts as the whole budget (dashed line). Beside it: the median, its ratio to the fastest, and "
        "how many of the runs got there."
    )
    picture = Picture(
        pictures.time_to_target(cells, chosen, styles),
        alt="Dot plot on a logarithmic axis of the time to the target by solver. " + _spoken(cells, chosen),
        caption=caption,
        narrow=pictures.time_to_target(cells, chosen, styles, columns=1, width=4.2),
    )
    blocks: list[Block] = [
        Text(
            "Every solver trains the same network on the same data, from the same starting weights, on the same "
            "machine. An ODE solver follows the gradient flow dw/dt = −∇E(w), the path down the loss E that gradient "
            "descent with an infinitely small learning rate would take; it picks its own steps. Gradient descent and "
            "its variants got the best of a grid of learning rates, found on other starts."
        ),
        picture,
        _scoreboard(cells),
        Text(
            f"Times are wall time of training; compiling is left out here and shown in each problem's table. "
            f"Each number is the median over {_many(count, 'start')}; bands in the pictures are the full range. "
            "A presentation is one gradient over the whole training set, a measure of work that does not depend on "
            "the machine. A lower bound is marked with “>”, what a solver cannot tell with “–”.",
            small=True,
        ),
    ]
    return Section("Summary", blocks)


def _spoken(cells: Sequence[Result], chosen: Mapping[str, str]) -> str:
    parts = []
    for problem, group in by_problem(cells).items():
        reached = {label: measures.reach(runs, chosen[problem]) for label, runs in by_label(group).items()}
        order = sorted(reached.items(), key=lambda item: (item[1].bound, item[1].median))
        told = ", ".join(f"{label} {duration(found.median, found.bound)}" for label, found in order)
        parts.append(f"{problem}: {told}.")
    return " ".join(parts)


def _scoreboard(cells: Sequence[Result]) -> Table:
    """Over all problems: how many targets each solver reached, and how far from the fastest it was."""
    problems = by_problem(cells)
    tasks = [(problem, name) for problem, group in problems.items() for name in LEVELS if name in group[0].targets]
    factors: dict[str, dict[tuple[str, str], float]] = {label: {} for label in by_label(cells)}
    reached: dict[str, int] = dict.fromkeys(factors, 0)
    for problem, name in tasks:
        found = {label: measures.reach(runs, name) for label, runs in by_label(problems[problem]).items()}
        for label, factor in measures.ratios(found).items():
            factors[label][problem, name] = factor
            reached[label] += not found[label].bound
    rows = []
    for label in sorted(
        factors, key=lambda label: (-reached[label], measures.geometric_mean([*factors[label].values()]))
    ):
        tried = len(factors[label])
        fastest = sum(factor == 1 for factor in factors[label].values())
        mean = measures.geometric_mean([*factors[label].values()])
        missed = reached[label] < tried
        rows.append(
            Line(label, [Value(f"{reached[label]} of {tried}"), Value(str(fastest)), Value(ratio_text(mean, missed))])
        )
    return Table(
        "All targets of all problems",
        "solver",
        ["targets reached", "times fastest", "time, as a multiple of the fastest"],
        rows,
        note="A target is reached when most starts got there within the budget. The multiple is the geometric mean "
        "over the targets that anyone reached, with the whole budget where a target was missed.",
    )


def _gaps(cells: Sequence[Result], damages: Sequence[Damage], left_out: Sequence[str]) -> list[Section]:
    items = [f"{damage.file}: {damage.reason}" for damage in damages] + holes(cells) + list(left_out)
    if not items:
        return []
    words = "These results are missing, could not be read or do not compare; everything above is made from the others."
    return [Section("Missing results", [Text(f"{words} Running the command below again makes them."), Listing(items)])]


def _methods(cells: Sequence[Result]) -> Section:
    rows = [
        Line(name, [Value(describe_solver(name) or "–", wide=True)]) for name in dict.fromkeys(c.solver for c in cells)
    ]
    words = (
        "What ran, in one line each. ODE solvers differ in the step they can take where the flow is stiff, that is, "
    )
    return Section(
        "Solvers",
        [
            Text(
                words
                + "where some directions settle many times faster than others: an explicit method must follow the "
                "fastest of them all the way, an implicit one need not."
            ),
            Table("The solvers of this page", "solver", ["what it is"], rows),
        ],
    )


def _redo(cells: Sequence[Result], folder: str | Path) -> Section:
    rows = [Line(name, [Value(value, wide=True)]) for name, value in _environment(cells).items()]
    return Section(
        "Redo it",
        [
            Text("These commands make the results and this page. What is already there is not computed again."),
            Code(command(cells, folder)),
            Table("Where the results were made", "", ["value"], rows),
        ],
    )


def command(cells: Sequence[Result], folder: str | Path) -> str:
    """The commands that make these cells and their page."""
    words = ["stiffgrad compare"]
    words += [f"--problem {problem}" for problem in by_problem(cells)]
    words += [f"--solver {name}" for name in dict.fromkeys(cell.solver for cell in cells)]
    words += [f"--seeds {len({cell.seed for cell in cells})}", f"--seconds {max(cell.seconds for cell in cells):g}"]
    words += [] if cells[0].target == LEVELS[-1] else [f"--target {cells[0].target}"]
    lines, line = [], ""
    for word in [*words, f"--out {folder}"]:
        if len(line) + len(word) > 90:
            lines.append(line + " \\")
            line = "    " + word
        else:
            line = f"{line} {word}".strip() if not lines else f"{line} {word}"
    return "\n".join([*lines, line, f"stiffgrad report {folder}"])


def _environment(cells: Sequence[Result]) -> dict[str, str]:
    """What the cells say about their machine; where they differ, every value with its number of results."""
    seen: dict[str, Counter[str]] = {}
    for cell in cells:
        for name, value in cell.environment.items():
            seen.setdefault(name, Counter())[_plain(value)] += 1
    told = {
        name: next(iter(counts)) if len(counts) == 1 else "; ".join(f"{v} ({n} results)" for v, n in counts.items())
        for name, counts in seen.items()
    }
    if "date" in seen:
        dates = sorted(seen["date"])
        told["date"] = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    return told


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {part}" for name, part in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


__all__ = ["command", "page", "save", "write", "write_picture"]
