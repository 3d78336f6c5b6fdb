"""How the benchmarks of equations run: each is solved with the defaults of `pde.solve`, and only the budget is set.

`plain_equations.py`, `hard_equations.py` and `ode_systems.py` name their equations and call `main`. A cell (equation,
seed, budget) is printed as a line. With `--out` it runs in a process of its own and is kept as JSON, so that a second
run does only what is missing, and the cells are printed as a table. Errors are relative L2 on 10,000 points.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

import stiffgrad as sg
from stiffgrad import pde
from stiffgrad.laboratory.environment import environment
from stiffgrad.laboratory.store import content_key, finite, write_json

DOUBTS = ("Not solved", "Not to be trusted", "Limited by its points", "not to be trusted to 1e-05")


class Equation(NamedTuple):
    """What is solved, and its solution: a function of points (d, N), as is `where`, which says where errors count."""

    domain: list[tuple[float, float]]
    conditions: list[pde.Condition]
    exact: Callable[[np.ndarray], np.ndarray]
    outputs: int = 1
    where: Callable[[np.ndarray], np.ndarray] | None = None


Equations = Mapping[str, Callable[[], Equation]]
Cell = dict[str, Any]


def run(equations: Equations, cell: Cell) -> Cell:
    """One cell: solve with the defaults, and measure."""
    equation = equations[cell["equation"]]()
    begin, used = time.perf_counter(), time.process_time()
    problem = pde.Problem(equation.domain, equation.conditions, outputs=equation.outputs, seed=cell["seed"])
    until = sg.Until(loss=cell["loss"], wall_seconds=cell["seconds"], steps=cell["steps"])
    solution = pde.solve(problem, until=until, throw=False)
    whole, used = time.perf_counter() - begin, time.process_time() - used
    points = pde.grid_points(equation.domain)
    if equation.where is not None:
        points = points[equation.where(points.T)]
    values, right = solution.u(points), equation.exact(points.T)
    size = np.sqrt(np.mean(right**2, axis=0))  # of each component
    found, run = pde.errors(values, right), solution.run
    return finite({
        **cell, "error": found.relative_l2, "alike": pde.errors(values / size, right / size).relative_l2,
        "estimate": solution.error_estimate, "maximum": found.maximum, "verdict": solution.verdict,
        "ended_loss": solution.loss, "held_out": solution.held_out["interior"],
        "residual": solution.residuals["interior"], "outcome": solution.outcome.name, "taken": run.statistics.steps,
        "wall_seconds": run.wall_seconds, "compile_seconds": run.compile_seconds, "whole_seconds": whole,
        "cpu_seconds": used, "printed": repr(solution), "environment": environment(),
    })  # fmt: skip


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1e}"


def line(cell: Cell) -> str:
    """What a cell has found."""
    return (
        f"{cell['equation']}: error {number(cell['error'])}, estimated {number(cell['estimate'])}, components alike "
        f"{number(cell['alike'])}, {cell['taken']} steps, {cell['wall_seconds']:.1f} s solving of "
        f"{cell['whole_seconds']:.1f} s ({cell['cpu_seconds']:.1f} s of CPU); {cell['verdict']}"
    )


def table(cells: list[Cell], order: list[str]) -> None:
    """What the cells have found, in the order of the equations."""
    shown = Table(box=box.MARKDOWN)
    for heading in ("equation", "error", "estimated", "loss", "held out", "steps", "solve s", "compile s"):
        shown.add_column(heading)
    shown.add_column("verdict", overflow="fold")
    for cell in sorted(cells, key=lambda c: (order.index(c["equation"]), c["seed"])):
        shown.add_row(
            cell["equation"], *(number(cell[key]) for key in ("error", "estimate", "ended_loss", "held_out")),
            str(cell["taken"]), f"{cell['wall_seconds']:.1f}", f"{cell['compile_seconds']:.1f}",
            ", ".join(doubt for doubt in DOUBTS if doubt in cell["verdict"]) or "no doubt",
        )  # fmt: skip
    Console(width=240).print(shown)


def kept(cells: list[Cell], out: pathlib.Path) -> list[Cell]:
    """The cells as they are kept in a folder; those that are missing run first, each in a process of its own."""
    paths = [out / f"{content_key(cell)}.json" for cell in cells]
    for cell, path in zip(cells, paths, strict=True):
        if not path.exists():
            print(f"{cell['equation']}, seed {cell['seed']}", file=sys.stderr, flush=True)
            command = [sys.executable, sys.argv[0], "--cell", json.dumps(cell), "--out", str(out)]
            subprocess.run(command, check=False)
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()]


def main(equations: Equations, description: str | None, seconds: float, out: pathlib.Path | None = None) -> None:
    """The command line of a benchmark; `seconds` and `out` are its defaults."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=equations, help="repeatable; by default all")
    parser.add_argument("--seed", type=int, action="append", help="repeatable; by default 0")
    parser.add_argument("--seconds", type=float, default=seconds, help="budget of solving time of an equation")
    parser.add_argument("--steps", type=int, default=None, help="budget of steps, for busy machines")
    parser.add_argument("--loss", type=float, default=1e-15, help="where to end; by default as pde.solve does")
    parser.add_argument("--out", type=pathlib.Path, default=out, help="folder of cells: each a process and a file")
    parser.add_argument("--cell", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
    if given.cell:
        write_json(given.out / f"{content_key(given.cell)}.json", run(equations, given.cell))
        return
    budget = {"seconds": given.seconds, "steps": given.steps, "loss": given.loss}
    made_by = {"benchmark": pathlib.Path(sys.argv[0]).stem, "protocol": 2}
    cells = [
        {"equation": name, "seed": seed, **budget, **made_by}
        for seed in given.seed or [0]
        for name in given.only or equations
    ]
    if given.out is not None:
        table(kept(cells, given.out), list(equations))
        return
    for cell in cells:
        print(line(run(equations, cell)), flush=True)
