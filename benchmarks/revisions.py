"""Is a solver as fast as it was? Today's code and that of an earlier revision solve the same problems, in turns.

    python benchmarks/revisions.py 0432e65 --seeds 3 --rounds 3 --out runs/revisions.json

The earlier code comes from `git worktree` and runs in this environment. Every cell is a process of its own: one problem
and start, solved `rounds` times to the deep target, compiled in full beforehand; the shortest time counts. Told are the
ratios old over new of the solving seconds and of the presentations, above 1 where today's code is better.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import numpy as np

from stiffgrad.laboratory.environment import environment
from stiffgrad.laboratory.store import write_json

PROBLEMS = (
    *("xor", "encoder", "parity4", "two-spirals", "sine", "product2d"),
    *("iris", "wine", "breast-cancer", "diabetes", "digits"),
    *("iris-decay-1e-3", "diabetes-decay-1e-3", "digits-decay-1e-3"),
)

# It runs in both: the laboratory was called `experiments` before, and compiled in full always.
CELL = """
import inspect, json, sys
import stiffgrad as sg
try:
    from stiffgrad.laboratory import problems
except ImportError:
    from stiffgrad.experiments import problems
name, seed, rounds, seconds, solver = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), sys.argv[5]
problem = problems.get(name)
target = problem.targets["deep"]
until = sg.Until(loss=target.loss, gradient_norm=target.gradient_norm, wall_seconds=seconds)
options = {"compilation": "full"} if "compilation" in inspect.signature(sg.solve).parameters else {}
objective = problem.objective(seed)
runs = [sg.solve(objective, solver, until=until, throw=False, **options) for _ in range(rounds)]
best = min(runs, key=lambda run: run.wall_seconds)
print(json.dumps({"seconds": best.wall_seconds, "presentations": best.statistics.presentations,
                  "reached": best.outcome.name == "TARGET"}))
"""


def cell(source: pathlib.Path, name: str, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """One problem and start by the code in a folder."""
    words = [name, str(seed), str(options.rounds), str(options.seconds), options.solver]
    place = {**os.environ, "PYTHONPATH": str(source)}
    run = subprocess.run([sys.executable, "-c", CELL, *words], capture_output=True, text=True, env=place, check=False)
    if run.returncode:
        raise SystemExit(f"{source}, {name}: {run.stderr.strip().splitlines()[-1]}")
    return json.loads(run.stdout.splitlines()[-1])


def row(name: str, cells: list[dict[str, dict[str, float]]]) -> tuple[str, dict[str, float] | None]:
    """A line of the table, and the ratios where both codes always reached the target."""
    reached = {code: sum(both[code]["reached"] for both in cells) for code in ("old", "new")}
    told = f"| {name} | {reached['old']}/{len(cells)} | {reached['new']}/{len(cells)} |"
    if min(reached.values()) < len(cells):
        return f"{told} | | | |", None
    middle = {c: {k: statistics.median(both[c][k] for both in cells) for k in ("seconds", "presentations")}
              for c in ("old", "new")}  # fmt: skip
    ratios = {k: middle["old"][k] / middle["new"][k] for k in ("seconds", "presentations")}
    seconds = f"{middle['old']['seconds']:.3g} | {middle['new']['seconds']:.3g}"
    return f"{told} {seconds} | {ratios['seconds']:.2f} | {ratios['presentations']:.2f} |", ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision")
    parser.add_argument("--problem", action="append", help="repeatable; by default those of the benchmark's suites")
    parser.add_argument("--solver", default="auto")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="budget of a solve")
    parser.add_argument("--out", type=pathlib.Path)
    options = parser.parse_args()
    here = pathlib.Path(__file__).resolve().parents[1]
    found: dict[str, list[dict[str, dict[str, float]]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        old = pathlib.Path(folder) / "old"
        git = ["git", "-C", str(here), "worktree"]
        subprocess.run([*git, "add", "--detach", "--quiet", str(old), options.revision], check=True)
        try:
            for name, seed in itertools.product(options.problem or PROBLEMS, range(options.seeds)):
                both = {"old": cell(old / "src", name, seed, options), "new": cell(here / "src", name, seed, options)}
                found.setdefault(name, []).append(both)
                print(name, seed, both, file=sys.stderr, flush=True)
                if options.out:
                    write_json(
                        options.out, {**vars(options), "out": None, "found": found, "environment": environment()}
                    )
        finally:
            subprocess.run([*git, "remove", "--force", str(old)], check=True)
    print("| problem | old reached | new reached | old, s | new, s | seconds | presentations |")
    print("|---|---|---|---|---|---|---|")
    rows = [row(name, cells) for name, cells in found.items()]
    print("\n".join(line for line, _ in rows))
    ratios = [ratio for _, ratio in rows if ratio is not None]
    for key in ("seconds", "presentations") if ratios else ():
        values = [ratio[key] for ratio in ratios]
        print(f"{key}, old over new: geometric mean {np.exp(np.mean(np.log(values))):.2f}, smallest {min(values):.2f}")


if __name__ == "__main__":
    main()
