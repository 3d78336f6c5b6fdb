"""`stiffgrad compare` and `stiffgrad report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stiffgrad.cli._common import one_line_errors, print_table


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(compare)
    app.command()(report)


def compare(
    problem: Annotated[list[str], typer.Option(help="Problem, any number of times; see `stiffgrad problems`.")],
    solver: Annotated[list[str], typer.Option(help="Solver, any number of times; see `stiffgrad solvers`.")],
    out: Annotated[Path, typer.Option(help="Folder of the results, one file a cell.")],
    seeds: Annotated[int, typer.Option(help="Number of random starts.")] = 5,
    seconds: Annotated[float, typer.Option(help="Budget of each run, in seconds of solving.")] = 30.0,
    jobs: Annotated[int, typer.Option(help="Runs at a time; above 1, times compare less well.")] = 1,
    target: Annotated[str, typer.Option(help="Where a run stops: easy, medium or deep.")] = "deep",
) -> None:
    """Run solvers on problems from the same starts. A second run does only what is missing."""
    from stiffgrad.laboratory.compare import compare as run
    from stiffgrad.laboratory.show import COLUMNS, NUMBERS, shown
    from stiffgrad.laboratory.tables import failures, table

    with one_line_errors():
        results = run(problem, solver, seeds, seconds, out, jobs=jobs, target=target, progress=True)
        rows = [shown(row) for row in table(results)]
    print_table(f"Median seconds of solving, {seeds} starts, {seconds:g} s each", COLUMNS, rows, NUMBERS)
    for words in failures(results):
        typer.echo(words)


def report(
    folder: Annotated[Path, typer.Argument(help="Folder of the results.")],
    picture: Annotated[
        Path | None, typer.Option(help="Also save the first picture of the page: a file ending in .svg, .pdf or .png.")
    ] = None,
) -> None:
    """Write one self-contained HTML page about the results of `compare`."""
    with one_line_errors():
        from stiffgrad.report import write, write_picture

        written = [write(folder)] if picture is None else [write(folder), write_picture(folder, picture)]
    for path in written:
        typer.echo(path)
