"""`stiffgrad compare` and `stiffgrad report`."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Annotated, Any

import typer

from stiffgrad.cli._common import one_line_errors, print_table


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(compare)
    app.command()(report)


def compare(
    solver: Annotated[list[str], typer.Option(help="Solver, any number of times; see `stiffgrad solvers`.")],
    out: Annotated[Path, typer.Option(help="Folder of the results, one file a cell.")],
    source: Annotated[
        str | None,
        typer.Argument(help="FILE.py:NAME, an objective of your own, or a function seed -> objective; runs the file."),
    ] = None,
    problem: Annotated[
        list[str] | None, typer.Option(help="Problem, any number of times; see `stiffgrad problems`.")
    ] = None,
    loss: Annotated[float | None, typer.Option(help="With FILE.py:NAME: the loss where a run stops.")] = None,
    gradient_norm: Annotated[
        float | None, typer.Option(help="With FILE.py:NAME: the gradient norm where a run stops; 1e-5 by default.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Number of random starts.")] = 5,
    seconds: Annotated[float, typer.Option(help="Budget of each run, in seconds of solving.")] = 30.0,
    jobs: Annotated[int, typer.Option(help="Runs at a time; above 1, times compare less well.")] = 1,
    target: Annotated[str, typer.Option(help="Where a run stops: easy, medium or deep.")] = "deep",
    dask: Annotated[str | None, typer.Option(help="Address of a Dask scheduler, whose workers run the cells.")] = None,
) -> None:
    """Run solvers on problems from the same starts. A second run does only what is missing."""
    from stiffgrad.laboratory.compare import compare as run
    from stiffgrad.laboratory.show import COLUMNS, NUMBERS, shown
    from stiffgrad.laboratory.tables import failures, table

    with one_line_errors():
        if source is not None:
            if dask is not None:
                raise ValueError(f"{source!r} does not go with --dask: its runs are in this process")
            results = _own(source, problem, solver, seeds, seconds, out, jobs, loss, gradient_norm)
        else:
            results = run(problem or [], solver, seeds, seconds, out, jobs, target, dask=dask)
        rows = [shown(row) for row in table(results)]
    print_table(f"Median seconds of solving, {seeds} starts, {seconds:g} s each", COLUMNS, rows, NUMBERS)
    for words in failures(results):
        typer.echo(words)


def _own(
    source: str,
    problem: list[str] | None,
    solver: list[str],
    seeds: int,
    seconds: float,
    out: Path,
    jobs: int,
    loss: float | None,
    gradient_norm: float | None,
) -> list[dict[str, Any]]:
    """Results on the problem of FILE.py:NAME."""
    from stiffgrad._compare import compare as run
    from stiffgrad.run.until import Until

    if problem or jobs != 1:
        raise ValueError(f"{source!r} goes neither with --problem nor with --jobs: its runs are in this process")
    file, separator, name = source.rpartition(":")
    if not separator or not file.endswith(".py") or not Path(file).is_file():
        raise ValueError(f"{source!r} must be FILE.py:NAME of a file that exists")
    defined = runpy.run_path(file)
    if name not in defined:
        raise ValueError(f"{file} defines no {name!r}")
    gradient_norm = 1e-5 if loss is None and gradient_norm is None else gradient_norm
    until = Until(loss=loss, gradient_norm=gradient_norm, wall_seconds=seconds)
    return run(defined[name], solver, seeds, until, out).results


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
