"""How far does a run go past `Until(wall_seconds=...)`? Every solver, on small, dense, matrix-free and slow problems.

    python benchmarks/budgets.py                    # 25 minutes
    python benchmarks/budgets.py --problem small --solver rosenbrock

For each run: the budget, how far the solving time went past it, in seconds and in the time of a gradient, the longest
step, and what compilation and the rest of the call took, which the budget does not count. A run that ended by itself
before its budget is no row of the summary.
"""

import argparse
import json
import statistics
import time
import warnings

import numpy as np

import stiffgrad as sg

# Samples, layers, budget in seconds.
PROBLEMS = {
    "small": (30, [1, 8, 1], 0.5),  # 25 weights, a gradient in microseconds
    "dense": (1000, [8, 40, 40, 1], 2.0),  # 2,041 weights
    "slow dense": (8000, [8, 40, 40, 1], 2.0),  # a Gauss-Newton matrix takes more than a second
    "large": (20000, [20, 200, 200, 1], 2.0),  # 44,601 weights, a gradient in tenths of a second
}


def made(name: str) -> sg.Objective:
    samples, sizes, _ = PROBLEMS[name]
    X = np.random.default_rng(0).uniform(-1, 1, (samples, sizes[0]))
    noise = np.random.default_rng(1).normal(size=samples)  # so that no run arrives
    return sg.supervised(*sg.mlp(sizes), X, np.sin(3 * X.sum(1)) + 0.1 * noise)


def gradient_seconds(objective: sg.Objective) -> float:
    seconds = []
    for _ in range(6):
        begin = time.perf_counter()
        objective.value_and_gradient(objective.w0)
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


def one(problem: str, objective: sg.Objective, name: str, budget: float) -> dict[str, object]:
    gradient = gradient_seconds(objective)
    begin = time.perf_counter()
    try:
        solution = sg.solve(objective, name, until=sg.Until(wall_seconds=budget), throw=False)
    except (ValueError, MemoryError, ImportError) as error:
        return {"problem": problem, "solver": name, "refused": str(error)}
    total = time.perf_counter() - begin
    steps = np.diff(solution.trace["wall_seconds"])
    return {
        "problem": problem,
        "solver": name,
        "budget": budget,
        "outcome": solution.outcome.name,
        "steps": float(solution.statistics.steps),
        "over_seconds": solution.wall_seconds - budget,
        "gradient_seconds": gradient,
        "longest_step_seconds": float(steps.max()) if len(steps) else float("nan"),
        "compile_seconds": solution.compile_seconds,
        "rest_seconds": total - solution.wall_seconds - solution.compile_seconds,
    }


def line(row: dict) -> str:
    head = f"{row['problem']:10} {row['solver']:20}"
    if "refused" in row:
        return f"{head} refused: {row['refused'][:70]}"
    over, gradient = row["over_seconds"], row["gradient_seconds"]
    return (
        f"{head} {row['outcome']:12} {row['steps']:7.0f} steps {over:+7.3f} s {over / gradient:+9.1f} gradients, "
        f"longest step {row['longest_step_seconds']:6.3f} s, compiled {row['compile_seconds']:5.1f} s, "
        f"rest {row['rest_seconds']:5.2f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problem", action="append", choices=sorted(PROBLEMS))
    parser.add_argument("--solver", action="append", choices=sg.solvers.names())
    parser.add_argument("--seconds", type=float, help="another budget")
    parser.add_argument("--out", help="JSON file for the rows")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    for problem in options.problem or PROBLEMS:
        objective = made(problem)
        for name in options.solver or sg.solvers.names():
            rows.append(one(problem, objective, name, options.seconds or PROBLEMS[problem][2]))
            print(line(rows[-1]), flush=True)
    over = [row for row in rows if row.get("outcome") == "OUT_OF_TIME"]
    beyond = [r for r in over if r["over_seconds"] > max(0.5, r["gradient_seconds"])]
    if over:
        middle = statistics.median(row["over_seconds"] for row in over)
        print(f"{len(over)} runs ended by their budget: median {middle:+.3f} s past it, {len(beyond)} by more than")
        print("0.5 s and a gradient:", ", ".join(f"{r['solver']} on {r['problem']}" for r in beyond) or "none")
    if options.out:
        with open(options.out, "w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
