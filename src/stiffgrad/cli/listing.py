"""`stiffgrad solvers` and `stiffgrad problems`."""

from __future__ import annotations

import typer

from stiffgrad.cli._common import print_table


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(solvers)
    app.command()(problems)


def solvers() -> None:
    """List all solvers, one line each."""
    from stiffgrad.solvers import create, names

    rows = [(name, solver.family, solver.summary) for name, solver in ((name, create(name)) for name in names())]
    print_table("Solvers", ("name", "family", "what it is"), rows)


def problems() -> None:
    """List all problems with their targets, one line each."""
    from stiffgrad.laboratory.problems import LEVELS, get, names

    rows = []
    for problem in map(get, names()):
        quantity = problem.targets["deep"].quantity.replace("_", " ")
        values = " / ".join(f"{problem.targets[level].value:g}" for level in LEVELS)
        rows.append((problem.name, problem.summary, f"{quantity} {values}"))
    print_table("Problems", ("name", "what it is", "targets: easy / medium / deep"), rows)
