"""`stiffgrad bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stiffgrad import _checks
from stiffgrad.cli._common import one_line_errors, print_table


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(bench)


def bench(
    suite: Annotated[
        list[str] | None,
        typer.Option(help="dense, easy, ... as listed in the docs, or first-call; repeatable."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of results and tables.")] = Path("runs/bench"),
    problem: Annotated[list[str] | None, typer.Option(help="Only this problem of the suite; repeatable.")] = None,
    solver: Annotated[list[str] | None, typer.Option(help="Only this solver of the suite; repeatable.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Number of random starts; by default the suite's.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Budget of each run, in seconds of solving.")] = None,
    jobs: Annotated[int, typer.Option(help="Runs at a time; above 1, times compare less well.")] = 1,
    dask: Annotated[str | None, typer.Option(help="Address of a Dask scheduler, whose workers run the cells.")] = None,
    floor: Annotated[bool, typer.Option(help="Instead: rosenbrock's time against the cost of its products.")] = False,
) -> None:
    """Run the benchmark: our integrators, never with an option, against their peers. A second run resumes."""
    with one_line_errors():
        if suite and "first-call" in suite:
            _first_call(problem, seeds, out)
        elif floor:
            _floor(problem or ["sine", "product2d"], seconds)
        else:
            _suites(suite or _suites_with(problem), out, problem, solver, seeds, seconds, jobs, dask)


def _suites_with(problem: list[str] | None) -> list[str]:
    """The suites that run by default; only those with the problems asked for, where some were."""
    from stiffgrad.laboratory.bench import SUITES

    usual = ["dense", "gradient-norm", "easy"]
    return [name for name in usual if set(problem or ()) <= set(SUITES[name].problems)] or usual


def _suites(
    suites: list[str],
    out: Path,
    problem: list[str] | None,
    solver: list[str] | None,
    seeds: int | None,
    seconds: float | None,
    jobs: int,
    dask: str | None,
) -> None:
    from stiffgrad.laboratory import bench as benchmark
    from stiffgrad.laboratory.show import COLUMNS, NUMBERS, shown

    for name in suites:  # all of them before the first one runs for hours
        benchmark.select(name, problem or (), solver or ())
    for name in suites:
        summary = benchmark.bench(name, out, seeds, seconds, problem or (), solver or (), jobs, True, dask)
        print_table(f"{name}: all runs, median seconds", COLUMNS, map(shown, summary.rows), NUMBERS)
        fastest = benchmark.SPEEDUP_COLUMNS
        title = f"{name}: {benchmark.SUITES[name].summary}"
        print_table(title, fastest, benchmark.speedup_rows(summary), (fastest[2], *fastest[4:]))
        for own in benchmark.SUITES[name].own:
            columns, rows = benchmark.against_table(summary, own)
            if rows:
                print_table(f"{name}: seconds of each peer over {own}'s", columns, rows, columns[1:])
        typer.echo(f"written: {out / name}")


def _first_call(problems: list[str] | None, repeats: int | None, out: Path) -> None:
    from stiffgrad.laboratory.first_call import HEADER, PROBLEMS, first_call

    count = 5 if repeats is None else _checks.whole("seeds", repeats, 1)
    out.mkdir(parents=True, exist_ok=True)
    typer.echo(HEADER)
    first_call(problems or PROBLEMS, repeats=count, out=out / "first-call.json", say=typer.echo)


def _floor(problems: list[str], seconds: float | None) -> None:
    from stiffgrad.laboratory.floor import floor

    columns = (
        "problem",
        "m x n",
        "product",
        "Cholesky",
        "products",
        "factors",
        "floor",
        "achieved",
        "achieved / floor",
    )
    rows = []
    for name in problems:
        found = floor(name, seconds=20.0 if seconds is None else seconds)
        measured = (found.gram_seconds, found.factor_seconds)
        counts = (found.jacobians, found.factorizations)
        totals = (found.floor_seconds, found.solve_seconds, found.ratio)
        size = f"{found.rows} x {found.size}"
        rows.append((name, size, *(f"{v:.3g}" for v in measured), *map(str, counts), *(f"{v:.3g}" for v in totals)))
    print_table("rosenbrock against its floor, in seconds", columns, rows, columns[2:])
