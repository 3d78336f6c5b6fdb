"""Errors reached on the equations of the literature, beside the published ones.

    python benchmarks/pinns.py --problem poisson2d --problem heat1d --seeds 5 --seconds 60 --out runs/pinns
    python benchmarks/pinns.py --table --out runs/pinns

One JSON a cell (problem, seed, budget, solver), so a second run does only what is missing. Everything is the default of
`pde.solve`: `auto`, balanced terms, stages. Each cell runs in a process of its own and records the error at the end and
after 25, 50, 100, 200, ... steps, the solving seconds and, beside them, those to compile.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

import numpy as np

import stiffgrad as sg
from stiffgrad import pde
from stiffgrad.laboratory import problems
from stiffgrad.laboratory.environment import environment
from stiffgrad.laboratory.problems import EquationProblem
from stiffgrad.laboratory.store import content_key, finite, write_json

EQUATIONS = [name for name in problems.names() if isinstance(problems.get(name), EquationProblem)]

# As /docs/pinns.md quotes them; [P] read in the paper, [T] second hand.
PUBLISHED = {
    "poisson2d": "ENGD 6.1e-8 in 1,000 s [P]",
    "heat1d": "ENGD 2.8e-8 in 1,000 s [P]",
    "poisson5d": "ENGD 5.6e-8 in 3,000 s [P]",
    "poisson5d-wide": "ENGD-Woodbury and SPRING 2.6e-7 in 7,000 s [P]",
    "helmholtz2d": "SPRING 2.0e-9 in 540 s, SSBroyden 3.6e-9 in 319 s [T]",
    "burgers": "SSBroyden 1.6e-8 in 2,878 s [T]",
    "convection": "NNCG 1.9e-3 [P]",
    "convection-few": "5.4e-6 [T]",
    "reaction": "NNCG 9.9e-3 [P]",
    "reaction-few": "2.9e-5 [T]",
    "wave": "NNCG 1.3e-2 [P]",
    "wave-few": "3.8e-4 [T]",
    "allen-cahn": "SSBroyden 9.4e-7 [T]",
    "kovasznay": "not found",
}


def content(arguments, name, seed):
    """What makes a cell."""
    return {"problem": name, "seed": seed, "seconds": arguments.seconds, "steps": arguments.steps,
            "solver": arguments.solver, "protocol": 1}  # fmt: skip


def run(cell):
    """One cell: solve, and look at the error along the run and at its end."""
    equation = problems.get(cell["problem"]).equation
    problem = equation.problem(cell["seed"])
    along, due = [], iter([25 * 2**k for k in range(20)])
    next_step = next(due)

    def watch(step):
        nonlocal next_step
        if step.row["steps"] >= next_step:
            error = getattr(equation.errors(problem, step.params), equation.measure)
            along.append({"steps": step.row["steps"], "loss": step.row["loss"], "error": error})
            next_step = next(due)

    until = sg.Until(loss=1e-20, wall_seconds=cell["seconds"], steps=cell["steps"])
    solution = pde.solve(problem, cell["solver"], until=until, callback=watch, throw=False)
    found = equation.errors(problem, solution.params)
    return finite({
        **cell, "error": getattr(found, equation.measure), "measure": equation.measure, "maximum": found.maximum,
        "relative_l2": found.relative_l2, "error_estimate": solution.error_estimate,
        "along": along, "loss": solution.loss, "outcome": solution.outcome.name, "verdict": solution.verdict,
        "weights": problem.weights, "residuals": dict(solution.residuals), "held_out": dict(solution.held_out),
        "steps_taken": solution.run.statistics.steps, "presentations": solution.run.statistics.presentations,
        "wall_seconds": solution.run.wall_seconds, "compile_seconds": solution.run.compile_seconds,
        "ran": solution.run.solver, "environment": environment(),
    })  # fmt: skip


def table(folder):
    """The median of each problem over its seeds, beside what was published."""
    groups = {}
    for path in sorted(folder.glob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        key = (EQUATIONS.index(result["problem"]), result["solver"], result["seconds"], result["steps"] or np.inf)
        groups.setdefault(key, []).append(result)
    heads = ["problem", "solver", "seeds", "steps", "seconds", "to compile", "error, median", "largest"]
    heads += ["estimate / error", "published"]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for key in sorted(groups):
        cells = [cell for cell in groups[key] if cell["error"] is not None]
        if not cells:
            continue
        name = cells[0]["problem"]
        middle = {k: statistics.median(c[k] for c in cells) for k in
                  ("error", "steps_taken", "wall_seconds", "compile_seconds")}  # fmt: skip
        told = [c["error_estimate"] / c["relative_l2"] for c in cells if c["error_estimate"] is not None]
        row = [
            name,
            cells[0]["solver"],
            len(cells),
            f"{middle['steps_taken']:.0f}",
            f"{middle['wall_seconds']:.0f}",
            f"{middle['compile_seconds']:.0f}",
            f"{middle['error']:.1e}",
            f"{max(c['error'] for c in cells):.1e}",
            f"{min(told):.2g} to {max(told):.2g}, {len(told)} told" if told else "none told",
            PUBLISHED[name],
        ]
        print(f"| {' | '.join(map(str, row))} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problem", action="append", choices=EQUATIONS, help="repeatable; by default all")
    parser.add_argument("--solver", default="auto")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=60.0, help="budget of solving time of a cell")
    parser.add_argument("--steps", type=int, default=None, help="budget of steps of a cell, for busy machines")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/pinns"))
    parser.add_argument("--table", action="store_true", help="only print what there is")
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.cell:
        cell = json.loads(arguments.cell)
        write_json(arguments.out / f"{content_key(cell)}.json", run(cell))
        return
    cells = [
        content(arguments, name, seed) for seed in range(arguments.seeds) for name in arguments.problem or EQUATIONS
    ]
    missing = [] if arguments.table else [c for c in cells if not (arguments.out / f"{content_key(c)}.json").exists()]
    for index, cell in enumerate(missing):
        print(f"{index + 1} of {len(missing)}: {cell['problem']}, seed {cell['seed']}", file=sys.stderr, flush=True)
        command = [sys.executable, __file__, "--cell", json.dumps(cell), "--out", str(arguments.out)]
        if subprocess.run(command, check=False).returncode:
            print(f"failed: {cell}", file=sys.stderr)
    table(arguments.out)


if __name__ == "__main__":
    main()
