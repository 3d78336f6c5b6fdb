"""Cost of a step against weights and against samples, and peak memory: `python benchmarks/scaling.py`.

Every cell is a process of its own. A step may take many presentations, so both are timed: seconds a step and seconds a
presentation. Prints a Markdown table; writes benchmarks/results/scaling.{json,md} and docs/scaling.svg.
"""

import argparse
import json
import pathlib
import resource
import subprocess
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOLVERS = ("exponential", "exponential, pairs=0", "chebyshev")  # pairs=0: Krylov steps alone
INPUTS = 32
SWEEPS = {
    "weights": [(n, 1_000) for n in (1_000, 10_000, 100_000, 1_000_000)],
    "samples": [(10_000, samples) for samples in (1_000, 3_162, 10_000, 31_623, 100_000)],
    "memory": [(1_000_000, 10_000)],
}


def width(weights):
    """Hidden units h of a network INPUTS-h-h-1 with about so many weights: h^2 + (INPUTS + 3) h + 1."""
    b = INPUTS + 3
    return max(1, round((np.sqrt(b * b + 4.0 * (weights - 1)) - b) / 2))


def cell(solver, weights, samples, steps, seconds):
    """One cell, in this process."""
    import stiffgrad as sg

    rows = np.random.default_rng(0)
    X = rows.normal(size=(samples, INPUTS))
    y = np.sin(X @ rows.normal(size=INPUTS) / 3.0)
    h = width(weights)
    apply, params = sg.mlp([INPUTS, h, h, 1], seed=0)
    objective = sg.supervised(apply, params, X, y)
    method = sg.solvers.Exponential(pairs=0) if solver.endswith("pairs=0") else solver
    solution = sg.solve(objective, method, until=sg.Until(loss=-1.0, steps=steps, wall_seconds=seconds))
    statistics = solution.statistics
    block = objective.blocks[0]
    return {
        "solver": solver,
        "weights": objective.size,
        "samples": samples,
        "chunk": block.coefficients.shape[1] if block.chunked else samples,
        "steps": statistics.steps,
        "presentations": statistics.presentations,
        "seconds": solution.wall_seconds,
        "outcome": solution.outcome.name,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def run(solver, weights, samples, steps, seconds):
    command = [sys.executable, __file__, "--cell", solver, str(weights), str(samples)]
    command += ["--steps", str(steps), "--seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def slope(cells, key, quantity):
    """Least squares in the logarithms, over the cells where a step was taken."""
    points = [(c[key], c["seconds"] / c[quantity]) for c in cells if c[quantity]]
    return np.polyfit(*np.log(np.array(points).T), 1)[0] if len(points) > 1 else np.nan


def table(results):
    lines = [
        "| sweep | solver | n | N | chunk | steps | presentations a step | seconds a step | seconds a presentation "
        "| peak GiB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for sweep, cells in results.items():
        for c in cells:
            a_step = [f"{c[q] / c['steps']:.3g}" if c["steps"] else "-" for q in ("presentations", "seconds")]
            lines.append(
                f"| {sweep} | {c['solver']} | {c['weights']:,} | {c['samples']:,} | {c['chunk']:,} | {c['steps']} | "
                f"{a_step[0]} | {a_step[1]} | {c['seconds'] / c['presentations']:.3g} | {c['peak_gib']:.2f} |"
            )
    lines += ["", "| slope in log-log | solver | seconds a step | seconds a presentation |", "|---|---|---|---|"]
    for sweep in ("weights", "samples"):
        for solver in SOLVERS:
            mine = [c for c in results.get(sweep, []) if c["solver"] == solver]
            if len(mine) > 1:
                slopes = [f"{slope(mine, sweep, quantity):.2f}" for quantity in ("steps", "presentations")]
                lines.append(f"| against {sweep} | {solver} | {' | '.join(slopes)} |")
    return "\n".join(lines) + "\n"


def picture(results, path):
    import matplotlib as mpl
    from matplotlib.figure import Figure

    from stiffgrad.report import _style

    with mpl.rc_context({**_style.RC, "svg.hashsalt": "stiffgrad"}):
        figure = Figure(figsize=(8.5, 3.6), layout="constrained")
        for axes, (sweep, label) in zip(
            figure.subplots(1, 2), (("weights", "weights n"), ("samples", "samples N")), strict=True
        ):
            for solver, colour, marker in zip(SOLVERS, _style.COLOURS, _style.MARKERS, strict=False):
                mine = [c for c in results.get(sweep, []) if c["solver"] == solver]
                for quantity, dash in (("steps", "-"), ("presentations", "--")):
                    points = [(c[sweep], c["seconds"] / c[quantity]) for c in mine if c[quantity]]
                    if points:
                        name = f"{solver}, a {quantity[:-1]} (slope {slope(mine, sweep, quantity):.2f})"
                        axes.loglog(*zip(*points, strict=True), dash, color=colour, marker=marker, label=name)
            axes.set(xlabel=label, ylabel="seconds", title=f"against {sweep}")
            axes.legend(fontsize=7.5)
        figure.savefig(path, metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cell", nargs=3, metavar=("SOLVER", "N_WEIGHTS", "N_SAMPLES"))
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=120.0, help="budget of a cell; a started step is finished")
    parser.add_argument("--most", type=float, default=1e12, help="leave out cells with more weights times samples")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--picture", type=pathlib.Path, default=ROOT / "docs" / "scaling.svg")
    options = parser.parse_args()
    if options.cell:
        solver, weights, samples = options.cell
        print(json.dumps(cell(solver, int(weights), int(samples), options.steps, options.seconds)))
        return
    from stiffgrad.laboratory.environment import environment

    results = {}
    for sweep, sizes in SWEEPS.items():
        results[sweep] = []
        for weights, samples in sizes:
            if weights * samples > options.most:
                continue
            for solver in SOLVERS:
                results[sweep].append(run(solver, weights, samples, options.steps, options.seconds))
                print(results[sweep][-1], file=sys.stderr, flush=True)
    text = table(results)
    options.out.mkdir(parents=True, exist_ok=True)
    saved = {"environment": environment(), "results": results}
    (options.out / "scaling.json").write_text(json.dumps(saved, indent=1), encoding="utf-8")
    (options.out / "scaling.md").write_text(text, encoding="utf-8")
    picture(results, options.picture)
    print(text)


if __name__ == "__main__":
    main()
