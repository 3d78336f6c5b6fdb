"""How far do runs with one thread and with two part? The same solves in processes that may use one core, and two.

    python benchmarks/threads.py             # three minutes
    python benchmarks/threads.py --cores 4   # one against four

Sums are taken in another order, and so end in other last digits; every step carries that on. For each solver and
problem: the largest difference of the weights after so many steps, in parts of their norm, and that of the last loss.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

SOLVERS = ["auto", "rosenbrock", "quasi-newton", "secants", "krylov", "chebyshev", "adam", "lbfgs", "lsoda", "tsit5"]
STEPS = (1, 5, 20, 100)
# Samples, layers.
PROBLEMS = {"small": (30, [1, 8, 1]), "medium": (2000, [8, 20, 20, 1]), "large": (20000, [20, 50, 1])}
DENSE = {"rosenbrock", "quasi-newton", "lsoda", "krylov", "chebyshev", "auto"}  # not on the large one: they take long


def pairs() -> list[tuple[str, str]]:
    return [(p, s) for p in PROBLEMS for s in SOLVERS if not (p == "large" and s in DENSE)]


def child(path: str) -> None:
    """All solves, in this process, into a file."""
    import warnings

    import stiffgrad as sg

    warnings.simplefilter("ignore")
    found = {}
    for problem, solver in pairs():
        samples, sizes = PROBLEMS[problem]
        X = np.random.default_rng(0).uniform(-1, 1, (samples, sizes[0]))
        objective = sg.supervised(*sg.mlp(sizes), X, np.sin(3 * X.sum(1)))
        for steps in STEPS[: 3 if problem == "large" else 4]:
            until = sg.Until(steps=steps, wall_seconds=15)
            solution = sg.solve(objective, solver, until=until, throw=False)
            if solution.statistics.steps == steps:
                found[f"{problem}/{solver}/{steps}"] = np.append(solution.w, solution.loss)
    np.savez(path, **found)


def solved(cores: int) -> dict[str, np.ndarray]:
    """The solves of a process that may use so many cores; XLA and BLAS make as many threads."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < cores:
        sys.exit(f"only {len(allowed)} cores may be used, not {cores}: taskset gives others")
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "found.npz"
        chosen = allowed[-cores:]
        command = [sys.executable, __file__, "--child", str(path)]
        subprocess.run(command, check=True, preexec_fn=lambda: os.sched_setaffinity(0, chosen))
        return dict(np.load(path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cores", type=int, default=2, help="of the second process")
    parser.add_argument("--out", help="JSON file for the rows")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child)
        return
    one, many = solved(1), solved(options.cores)
    rows = []
    print(f"{'':32}" + "".join(f"{steps:>10} steps" for steps in STEPS) + "        last loss")
    for problem, solver in pairs():
        row = {"problem": problem, "solver": solver}
        for steps in STEPS:
            a, b = (found.get(f"{problem}/{solver}/{steps}") for found in (one, many))
            if a is None or b is None:
                continue
            row[str(steps)] = float(np.abs(a[:-1] - b[:-1]).max() / np.linalg.norm(a[:-1]))
            row["loss"] = float(abs(a[-1] - b[-1]) / abs(a[-1]))
        rows.append(row)
        words = "".join(f"{row.get(str(steps), np.nan):16.1e}" for steps in STEPS)
        print(f"{problem:10} {solver:20} {words}{row.get('loss', np.nan):16.1e}", flush=True)
    if options.out:
        pathlib.Path(options.out).write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
